"""Jupyter's configuration of every server: what JupyterLab starts with, and when a terminal is idle.

The image's own Python reads it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from jupyter_server_terminals.terminalmanager import TerminalManager


class Terminals(TerminalManager):  # type: ignore[misc]
    """A terminal in which a program runs is not idle, also when it prints nothing."""

    async def _cull_terminals(self) -> None:
        for terminal in self.terminals.values():
            if works(terminal.ptyproc.pid):
                terminal.last_activity = datetime.now(UTC)
        await super()._cull_terminals()


def works(shell: int) -> bool:
    """Whether the process of a terminal has others below it."""
    try:
        return bool(psutil.Process(shell).children())
    except psutil.NoSuchProcess:
        return False


c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
c.TerminalsExtensionApp.terminal_manager_class = Terminals
c.LabApp.app_settings_dir = str(Path(__file__).parent.parent / "settings")
