"""A member's own machine: a home of its own, the command as installed, and the ssh programs of this host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from browser import Browser
from door import NODE, Authority, Sshd

Done = subprocess.CompletedProcess[str]


class Machine:
    def __init__(self, home: Path, authority: Authority) -> None:
        self.home, self.authority = home, authority
        self.runtime = home / "run"
        self.runtime.mkdir(parents=True)
        (home / ".ssh").mkdir(mode=0o700)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "BEARER_", "SSL_"))}
        self.environment = {**inherited, "HOME": str(home), "XDG_RUNTIME_DIR": str(self.runtime)}

    @property
    def folder(self) -> Path:
        return self.home / ".config" / "farmlet" / "lab"

    @property
    def bearer(self) -> Path:
        return self.runtime / f"bt_u{os.getuid()}"

    @property
    def config(self) -> Path:
        return self.home / ".ssh" / "config"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "farmlet.cli.main", *words]

    def run(self, *words: str, **more: str) -> Done:
        """`farmlet` with these words; `more` goes into its environment."""
        environment = self.environment | more
        return subprocess.run(self.command(*words), env=environment, capture_output=True, text=True, timeout=60, cwd=self.home)

    def do(self, *words: str) -> Done:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done

    def begin(self, *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """`farmlet login` up to where it waits for the person, and what it has shown them."""
        command = self.command("login", self.authority.url, "--ca", self.authority.service.cafile, *words)
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        shown = ""
        while not (found := re.search(r"(https://\S+)\n *code: (\S+)\n", shown)):
            line = process.stderr.readline()
            assert line, shown
            shown += line
        return process, {"verification_uri_complete": found[1], "user_code": found[2]}

    def log_in(self, browser: Browser, *words: str, button: str = "allow") -> Done:
        """The whole log-in, the person included."""
        process, started = self.begin(*words)
        self.authority.service.allow(browser, started, button)
        out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def change(self, **values: Any) -> None:
        """Edit the stored state, e.g. to let time pass."""
        (self.folder / "state.json").write_text(json.dumps(self.load() | values))

    def age(self, *names: str, end: float = -1) -> None:
        """Let these (`certificate`, `token`) be from 12 h ago, their ends `end` seconds from now."""
        now = time.time()
        self.change(**{name: {"start": now - 43200, "end": now + end} for name in names})

    def aim(self, sshd: Sshd) -> None:
        """Names of the facility lead to the test's sshd: what DNS and port 22 do elsewhere."""
        text = f"Host {NODE}\n  HostKeyAlias {NODE}\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n"
        self.config.write_text((self.config.read_text() if self.config.exists() else "") + text)

    def ssh(self, *words: str, program: str = "ssh", given: str | None = None) -> Done:
        command = [program, "-F", str(self.config), "-o", "BatchMode=yes", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, input=given or "")
