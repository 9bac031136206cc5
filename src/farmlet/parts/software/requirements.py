"""Requirements of Python packages as people write them (pip's format), kept to what names a package and its version.

No option, no address and no file of the one who wrote it reaches pip: an index of somebody else's, or a package from anywhere,
would be installed under a known name. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from farmlet.errors import Errors, InputError

LARGEST = 1 << 20  # characters of a file
MOST = 2000  # packages
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
VERSION = r"(?:===?|[~!<>]=|[<>])\s*[A-Za-z0-9][A-Za-z0-9.+!_*-]{0,99}"
MARKER = r"""[A-Za-z0-9_.+<>=!~'"() -]{1,300}"""
LINE = re.compile(
    rf"{NAME}(?:\s*\[\s*{NAME}(?:\s*,\s*{NAME})*\s*\])?(?:\s*{VERSION}(?:\s*,\s*{VERSION})*)?"
    rf"(?:\s*;\s*{MARKER}?)?(?:\s+--hash=sha256:[0-9a-f]{{64}})*",
    re.ASCII,
)
HINT = "one package a line, like `mplhep` or `mplhep==0.3.59`"


def check(line: str) -> str:
    """The same requirement, without blanks around it. Raises ValueError in words."""
    plain = line.strip()
    if plain.startswith("-"):
        raise ValueError(f"`{show(plain)}` is an option; only packages can be named here")
    if re.search(r"@|://|^[./]", plain):
        raise ValueError(f"`{show(plain)}` is an address or a file; only packages of the index can be named here")
    if not LINE.fullmatch(plain):
        raise ValueError(f"`{show(plain)}` is no package with a version")
    return plain


def parse(text: str, where: str) -> list[str]:
    """The requirements in a file `where`, in order. Raises Errors with each line that is none, InputError if the whole is not."""
    if len(text) > LARGEST:
        raise InputError(where, f"has more than {LARGEST} characters", HINT)
    found, faults = [], []
    for number, line in read(text.splitlines()):
        try:
            found.append(check(line))
        except ValueError as error:
            faults.append(InputError(f"{where}:{number}", str(error), HINT))
    if faults:
        raise Errors(faults)
    if not 0 < len(found) <= MOST:
        raise InputError(where, f"names {len(found) or 'no'} packages", HINT if not found else f"{MOST} at most")
    return found


def read(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Numbers (of their first line) and texts of requirements, without comments; a backslash goes on in the next line."""
    begun, whole = 0, ""
    for number, line in enumerate(lines, start=1):
        plain = re.sub(r"(^|\s)#.*", "", line).strip()
        begun = begun or number
        whole = f"{whole} {plain.removesuffix(chr(92)).strip()}".strip()
        if plain.endswith("\\"):
            continue
        if whole:
            yield begun, whole
        begun, whole = 0, ""
    if whole:
        yield begun, whole


def show(text: str, most: int = 60) -> str:
    """At most so many characters of it, none of which moves a terminal's cursor."""
    return "".join(one if one.isprintable() else "?" for one in text[:most])
