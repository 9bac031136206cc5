"""Members' own images as the Hub has them: a process of the member's looks and unpacks (`notebooks.own`); its word is judged."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub import __version__ as HUB

from farmlet.errors import FarmletError
from farmlet.facility.places import OWN_IMAGES
from farmlet.parts.notebooks.roster import Member

PROGRAM = (sys.executable, "-I", "-m", "farmlet.parts.notebooks.own")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,39}")
BASE = re.compile(r"([a-z0-9][a-z0-9._-]{0,39})-([0-9a-f]{12})")
LIST_SECONDS, UNPACK_SECONDS = 10, 150
MOST = 1 << 18  # bytes of an answer
SHOWN = 50  # images
CONFINED = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "PrivateNetwork=yes",
    "RestrictSUIDSGID=yes",
    "MemoryMax=1G",
    "TasksMax=64",
)


@dataclass(frozen=True)
class Own:
    """An image of `owner`'s, made at `made` (seconds since 1970) from the published `base`; `why`: why not here, "" if it can."""

    owner: str
    name: str
    base: str
    made: float
    why: str = ""

    @property
    def label(self) -> str:
        """What members choose; no published image is called so."""
        return f"{self.owner}/{self.name}"

    @property
    def tag(self) -> str:
        """Docker's image of its base, as image.sh makes it."""
        return "farmlet/{}:{}".format(*self.base.rsplit("-", 1))


async def run_as(name: str, words: Sequence[str], seconds: int) -> bytes:
    """What a program says that runs as the member of this UNIX name. Raises OSError."""
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", f"--uid={name}"]
    unit += [f"--property={one}" for one in (*CONFINED, f"RuntimeMaxSec={seconds}")]
    none = asyncio.subprocess.DEVNULL
    # a pipe of our own: `wait` would wait for asyncio's to end, which it does not notice of one that is full
    reader, (reading, writing) = asyncio.StreamReader(), os.pipe()
    loop, protocol = asyncio.get_running_loop(), asyncio.StreamReaderProtocol(reader)
    pipe, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(reading, "rb"))
    try:
        process = await asyncio.create_subprocess_exec(*unit, "--", *words, stdin=none, stdout=writing, stderr=none)
    except OSError:
        pipe.close()
        raise
    finally:
        os.close(writing)
    said = b""
    try:
        async with asyncio.timeout(seconds + 5):
            while len(said) < MOST and (more := await reader.read(MOST)):
                said += more
    finally:
        pipe.close()
        if not reader.at_eof() and process.returncode is None:
            process.kill()
        await process.wait()
    return said


class Images:
    """Members' own images over the published `folder`."""

    run_as = staticmethod(run_as)

    def __init__(self, folder: Path, told: Path = Path(OWN_IMAGES)) -> None:
        self._folder, self._told = folder / ".images", told
        self._asked: set[str] = set()  # since the Hub began: what they had told before the node booted, they tell again then

    async def list(self, member: Member) -> dict[str, Own]:
        """Those that `member` may have, by label: their own first, the newest of each first. Raises FarmletError."""
        if member.name in self._asked and not any(self._told.glob("*.json")):
            return {}
        try:
            rows = json.loads(await self.run_as(member.name, (*PROGRAM, "list"), LIST_SECONDS))
            found = [one for row in rows if (one := self._judge(row))]
        except (OSError, LookupError, ValueError, TypeError, RecursionError) as error:
            raise FarmletError("images of your own", "cannot be looked for just now") from error
        self._asked.add(member.name)
        found.sort(key=lambda one: (one.owner != member.name, -one.made))
        return {one.label: one for one in found[:SHOWN]}

    def _judge(self, row: Any) -> Own | None:
        one = Own(str(row["owner"]), str(row["name"]), str(row["base"]), float(row["made"]))
        if not LABEL.fullmatch(one.label) or not math.isfinite(one.made) or not 0 <= one.made < 1 << 33:
            return None
        major = str(row["hub"]).partition(".")[0]
        why = ""
        if not one.base:
            why = "it is made of a registry's, which is for jobs; notebooks have those of the wish list"
        elif not BASE.fullmatch(one.base) or not (self._folder / one.base / "etc" / "farmlet-image").is_file():
            why = "the image that it begins with is not kept any more. Make it again: farmlet-image"
        elif major != HUB.partition(".")[0]:
            why = f"it has JupyterHub {major[:20] or 'not at all'}, and the facility's is {HUB}"
        return Own(one.owner, one.name, one.base, one.made, why)

    def find_root(self, one: Own) -> Path:
        return self._folder / one.base

    async def unpack(self, member: Member, one: Own, place: str, kept: Sequence[str]) -> str:
        """Unpack it below `place`, a folder of the member's; the folder. Raises FarmletError, with words for the member."""
        words = (*PROGRAM, "unpack", one.owner, one.name, place, *kept)
        try:
            told = json.loads(await self.run_as(member.name, words, UNPACK_SECONDS))
            folder, error = str(told.get("folder", "")), str(told.get("error", ""))
        except (OSError, ValueError, AttributeError, RecursionError):
            folder, error = "", "nothing answers"
        if not folder.startswith(f"{place}/") or error:
            raise FarmletError(one.label, error[:600] or "nothing was unpacked")
        return folder
