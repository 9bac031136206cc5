"""What a terminal shows first."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.access import greeting
from farmlet.parts.part import Context
from farmlet.parts.render import render
from farmlet.parts.resources import File

MakeContext = Callable[..., Context]
TOTALS = "Total for query: {} jobs; 0 completed, 0 removed, 2 idle, 3 running, 1 held, 0 suspended"


def motd(context: Context) -> str:
    return next(str(item.content) for item in greeting.greet(context) if isinstance(item, File) and item.path == "/etc/motd")


def test_the_news_are_shown_line_by_line(make_context: MakeContext) -> None:
    assert motd(make_context("head", 'access: {news: "Friday: new disks.\\nNo jobs until noon.\\n"}\n')).splitlines()[1:] == [
        "Example · head.farmlet.test",
        "",
        "  Friday: new disks.",
        "  No jobs until noon.",
        "",
    ]
    assert motd(make_context("head")).count("\n") == 3


def test_news_cannot_steer_a_terminal(make_context: MakeContext) -> None:
    with pytest.raises(FarmletError, match="terminal might obey"):
        make_context("head", 'access: {news: "\\e]0;x"}\n')


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., str]:
    """An interactive log-in shell's first words, with a `condor_q` that is a given script."""
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "usage").write_text(f"x{me} home no\n{me} home 1.2G of 20G used, 6 %\n{me} scratch 0K of 1T used, 0 %\n")
    (tmp_path / "greeting.sh").write_text(render("farmlet.parts.access", "greeting.sh", usage=tmp_path / "usage"))
    (tmp_path / "bin").mkdir()

    def run(script: str, flags: str = "-i", **more: str) -> str:
        queue = tmp_path / "bin" / "condor_q"
        queue.write_text(f"#!/bin/sh\n{script}\n")
        queue.chmod(0o755)
        environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "SSH_TTY": "/dev/pts/9"}
        primary, secondary = pty.openpty()
        command = ["bash", "--norc", "--noprofile", *([flags] if flags else []), "-c", f". {tmp_path}/greeting.sh"]
        environment |= more
        done = subprocess.run(command, env=environment, stdin=secondary, capture_output=True, text=True, check=True)
        os.close(primary)
        os.close(secondary)
        return done.stdout

    return run


def test_space_and_jobs(shell: Callable[..., str]) -> None:
    assert shell(f"echo '{TOTALS.format(6)}'").splitlines() == [
        "  home     1.2G of 20G used, 6 %",
        "  scratch  0K of 1T used, 0 %",
        "  jobs     2 idle, 3 running, 1 held",
        "",
    ]
    assert "  jobs     none\n" in shell(f"echo '{TOTALS.format(0)}'")


def test_a_queue_that_hangs_or_fails_keeps_nobody_waiting(shell: Callable[..., str]) -> None:
    began = time.monotonic()
    assert "jobs     the queue does not answer" in shell("exec sleep 30")
    assert time.monotonic() - began < 3  # 0.2 s by itself, on a busy machine
    assert "jobs     the queue does not answer" in shell("exit 1")


def test_only_a_person_at_a_terminal_sees_it(shell: Callable[..., str], tmp_path: Path) -> None:
    script = f"echo '{TOTALS.format(6)}'"
    assert shell(script, flags="") == "" == shell(script, SSH_TTY="") == shell(script, TMUX="/tmp/x") == shell(script, SHLVL="1")
    (tmp_path / ".hushlogin").touch()
    assert shell(script) == ""
