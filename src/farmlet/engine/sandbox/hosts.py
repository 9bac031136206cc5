"""The hosts file of this machine: one marked block for each sandbox, so that its names work in a browser here."""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from farmlet.errors import FarmletError, InputError

PATH = Path("/etc/hosts")
Parts = tuple[bytes, bytes, bytes]  # before the block, the block, after it


def block(facility: str, names: Mapping[str, str]) -> str:
    """The lines of one facility, marked at both ends; names: name → address."""
    lines = "".join(f"{address}\t{name}\n" for name, address in sorted(names.items()))
    return f"# farmlet {facility}: begin\n{lines}# farmlet {facility}: end\n"


def script(facility: str, names: Mapping[str, str]) -> tuple[str, str]:
    """The same for the hosts file of a node: (a shell script that writes the block, a test that it is there)."""
    marks = f"/^# farmlet {facility}: begin$/,/^# farmlet {facility}: end$/"
    text = shlex.quote(block(facility, names).rstrip("\n"))
    # written in place, as below
    write = f"kept=$(sed '{marks}d' {PATH}) && printf '%s\\n' \"$kept\" {text} > {PATH}"
    return write, f"[ \"$(sed -n '{marks}p' {PATH})\" = {text} ]"


class Hosts:
    """The block of one facility. What stands outside the marks is never changed, to the byte, whatever its encoding."""

    def __init__(self, facility: str, path: Path = PATH) -> None:
        self._path, self._facility = path, facility
        self._begin, self._end = block(facility, {}).encode().splitlines(keepends=True)

    def ensure(self, names: Mapping[str, str]) -> None:
        """Make the block say exactly `names` (name → address)."""
        lines = block(self._facility, names).encode()
        self._change(lambda parts: parts[0] + lines + parts[2])

    def remove(self) -> None:
        if self._path.exists():
            self._change(lambda parts: parts[0] + parts[2])

    def refuse_taken(self, names: Mapping[str, str]) -> None:
        """InputError for a name that something else in the hosts file already has."""
        before, _, after = self._split(self._read())
        for line in (before + after).decode(errors="replace").splitlines():
            words = line.split("#", 1)[0].split()
            for name in words[1:]:
                if name in names:
                    what = f"the name {name} is taken: `{line.strip()}`"
                    raise InputError(str(self._path), what, "give this facility another domain (facility.domain)")

    def _read(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""

    def _split(self, text: bytes) -> Parts:
        if self._begin not in text:
            return text, b"", b""
        before, rest = text.split(self._begin, 1)
        if self._end not in rest:
            mark = self._begin.decode().strip()
            raise FarmletError(str(self._path), f"the block `{mark}` has no end", "remove the block by hand")
        lines, after = rest.split(self._end, 1)
        return before, self._begin + lines + self._end, after

    def _change(self, change: Callable[[Parts], bytes]) -> None:
        """Read and write under a lock: another facility of this host may do the same right now.

        Not renamed over: in a container the hosts file is a mount and can only be written in place.
        """
        if not self._path.exists():
            self._path.touch()
        with self._path.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            old = stream.read()
            new = change(self._split(old))
            if new != old:
                stream.seek(0)
                stream.write(new)
                stream.truncate()
