"""How a file with an image of a member's own comes to its place: made aside, tested, shown by one rename, and told of."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.parts import own
from farmlet.runtime.files import rename

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def choose(name: str, otherwise: str) -> str:
    """The image's name, if need be made of another one. Raises InputError."""
    found = name or re.sub(r"[^a-z0-9._-]", "-", otherwise.lower()).lstrip("._-")[:40]
    if not NAME.fullmatch(found):
        raise InputError("farmlet-image", "an image's name has small letters, digits and . _ -", "--name fit")
    return found


def run(words: Sequence[str], where: str, seconds: int | None = None) -> str:
    """What a command says. Raises FarmletError with the end of what it complained in."""
    none = subprocess.DEVNULL
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", stdin=none, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise FarmletError(where, f"did not end within {seconds} s", "nothing was changed") from error
    except OSError as error:
        raise FarmletError(where, str(error), "ask your admins") from error
    if done.returncode:
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise FarmletError(
            where, f"was not made: {Path(words[0]).name} ended with {done.returncode}\n  {said}", "nothing was changed"
        )
    return done.stdout


@contextmanager
def making(folder: Path, name: str) -> Iterator[Path]:
    """A folder to work in, gone in the end, as is what one left that was killed."""
    for left in folder.glob(f".{name}.*.making"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".making", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def put(made: Path, target: Path, base: str, hub: str) -> None:
    """Show the file `made` as `target`, whose name is the image's; `base`, `hub`: see `own.Record`."""
    made.chmod(0o644)
    rename(made, target)
    file = target.stat()
    own.tell(own.Record(target.stem, str(target), file.st_size, file.st_mtime_ns, base, time.time(), hub))
