"""A member's terminal at a node, and the browser beside it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from dataclasses import dataclass

from person import PASSWORD, Person


@dataclass
class Terminal:
    """A command of a person at the node, on a terminal."""

    person: Person
    script: str

    def __enter__(self) -> Terminal:
        self.said = ""
        self.primary, secondary = pty.openpty()
        words = self.person.command(self.script)
        self.process = subprocess.Popen([words[0], "-tt", *words[1:]], stdin=secondary, stdout=secondary, stderr=secondary)
        os.close(secondary)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.primary)

    def read(self, pattern: str, seconds: float = 60) -> str:
        """The part of what it says that matches."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.said)):
            assert time.monotonic() < deadline, self.said
            if select.select([self.primary], [], [], 1)[0]:
                self.said += os.read(self.primary, 4096).decode()
        return found[0]

    def allow(self) -> None:
        page = self.read(r"https://\S+user_code=[\w-]+(?=\r)")
        self.person.browser.allow(page, self.person.name, PASSWORD)
