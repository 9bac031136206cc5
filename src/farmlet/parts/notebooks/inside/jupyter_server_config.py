"""Jupyter's configuration of every server: what JupyterLab starts with, VS Code beside it, and when a terminal is idle.

The image's own Python reads it.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_server_terminals.terminalmanager import TerminalManager

INSIDE = Path(__file__).parent.parent
sys.path.append(str(INSIDE / "python"))
from farmlet_editor import EDITOR, describe, works  # type: ignore[import-not-found]  # noqa: E402


class Terminals(TerminalManager):  # type: ignore[misc]
    """A terminal in which a program runs is not idle, also when it prints nothing."""

    async def _cull_terminals(self) -> None:
        for terminal in self.terminals.values():
            if works(terminal.ptyproc.pid):
                terminal.last_activity = datetime.now(UTC)
        await super()._cull_terminals()


c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
c.TerminalsExtensionApp.terminal_manager_class = Terminals
c.LabApp.app_settings_dir = str(INSIDE / "settings")
c.ServerApp.jpserver_extensions = {"farmlet_guests": True, "farmlet_editor": EDITOR.is_dir()}
if EDITOR.is_dir():
    c.ServerProxy.servers = {"vscode": describe(Path(__file__).parent, os.environ)}
