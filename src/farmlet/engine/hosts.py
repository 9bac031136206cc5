"""The hosts file of this machine: one marked block for each sandbox, so that its names work in a browser here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farmlet.errors import FarmletError, InputError

PATH = Path("/etc/hosts")


class Hosts:
    """The block of one facility. What stands outside the marks is never changed, to the byte."""

    def __init__(self, facility: str, path: Path = PATH) -> None:
        self._path = path
        self._begin, self._end = f"# farmlet {facility}: begin\n", f"# farmlet {facility}: end\n"

    def ensure(self, names: Mapping[str, str]) -> None:
        """Make the block say exactly `names` (name → address)."""
        block = self._begin + "".join(f"{address}\t{name}\n" for name, address in sorted(names.items())) + self._end
        before, _, after = self._split()
        self._write(before + block + after)

    def remove(self) -> None:
        before, block, after = self._split()
        if block:
            self._write(before + after)

    def current(self) -> bool:
        return bool(self._split()[1])

    def refuse_taken(self, names: Mapping[str, str]) -> None:
        """InputError for a name that something else in the hosts file already has."""
        before, _, after = self._split()
        for line in (before + after).splitlines():
            words = line.split("#", 1)[0].split()
            for name in words[1:]:
                if name in names:
                    what = f"the name {name} is taken: `{line.strip()}`"
                    raise InputError(str(self._path), what, "give this facility another domain (facility.domain)")

    def _split(self) -> tuple[str, str, str]:
        """The text before the block, the block, the text after it. A block begun without a line's end keeps that too."""
        text = self._path.read_text() if self._path.exists() else ""
        if self._begin not in text:
            return text, "", ""
        before, rest = text.split(self._begin, 1)
        if self._end not in rest:
            raise FarmletError(
                str(self._path), f"the block `{self._begin.strip()}` has no end", "remove the block by hand"
            )
        block, after = rest.split(self._end, 1)
        return before, self._begin + block + self._end, after

    def _write(self, text: str) -> None:
        # not renamed over: in a container the hosts file is a mount and can only be written in place
        if not self._path.exists() or self._path.read_text() != text:
            self._path.write_text(text)
