"""VS Code in a member's server: how it is started, and that a server in whose VS Code something runs is not idle.

The image's own Python has it as an extension of Jupyter's server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from jupyter_server.extension.application import ExtensionApp

EDITOR = Path("/opt/farmlet/editor")
START_SECONDS = 60
TERMINALS = "--type=ptyHost"  # of the process below which VS Code's terminals are


def describe(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What jupyter-server-proxy starts at the first click. It makes a folder that nobody else may enter, and the socket there is
    all that VS Code listens on. `folder`: of its configuration."""
    data = environment.get("FARMLET_EDITOR_DIR")  # with a full home
    return {
        "command": [
            *(str(EDITOR / "code" / name) for name in ("lib/node", "out/node/entry.js")),
            *("--config", str(folder / "editor.yaml")),
            *("--socket", "{unix_socket}", "--socket-mode", "600"),
            *(("--user-data-dir", data) if data else ()),
            environment["HOME"],
        ],
        "unix_socket": True,
        "timeout": START_SECONDS,
        "launcher_entry": {
            "title": "VS Code",
            "icon_path": str(EDITOR / "code/src/browser/media/favicon.svg"),
        },
    }


def works(shell: int) -> bool:
    """Whether the process of a terminal has others below it."""
    try:
        return bool(psutil.Process(shell).children())
    except psutil.NoSuchProcess:
        return False


def find_busy() -> list[int]:
    """The shells of VS Code's terminals in which something runs."""
    hosts = [one for one in psutil.process_iter(["cmdline"]) if TERMINALS in (one.info["cmdline"] or ())]
    shells = [shell.pid for host in hosts for shell in _list(host)]
    return [pid for pid in shells if works(pid)]


def _list(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children())
    except psutil.NoSuchProcess:
        return []


class Editor(ExtensionApp):  # type: ignore[misc]
    name = "farmlet_editor"

    def current_activity(self) -> list[int] | None:
        """A server with any does not end by itself. Whoever looks at VS Code is noticed by the proxy."""
        return find_busy() or None


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "farmlet_editor", "app": Editor}]
