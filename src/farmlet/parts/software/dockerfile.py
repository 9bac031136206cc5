"""Images by a Dockerfile: what may stand in it, and how buildah makes it, as a user that owns nothing here.

It begins with an image of the facility, which stands before it as a stage of that name: no registry is asked. Root in it is an
unprivileged account outside, with the ids of its own (subuid(5)).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked import unpack
from farmlet.parts.software.unpacked.layers import Told
from farmlet.runtime import program

USER = "farmlet-images"
SCRIPT = "/usr/lib/farmlet/images/dockerfile.sh"
NAME, BASE = "Dockerfile", ".farmlet-base.tar"
LARGEST = 8 << 20  # bytes of the folder
SECONDS = 3000
ENVIRONMENT = ".singularity.d/farmlet.json"  # the image's variables, for what begins with it
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
ADDRESS = re.compile(r"ADD\s.*?\b(https?://|git@)", re.IGNORECASE)


def find_faults(text: str, base: str) -> Iterator[str]:
    """What of a Dockerfile cannot be, in words with its line."""
    known, begins = {base, "scratch"}, False
    for number, line in enumerate(text.splitlines(), start=1):
        if found := FROM.match(line.strip()):
            begins = True
            if found[1] not in known:
                yield f"{NAME}:{number}: begins with {found[1][:100]}, which is not there; it can begin with `FROM {base}`"
            known.add(found[2] or "")
        elif ADDRESS.match(line.strip()):
            yield f"{NAME}:{number}: fetches something; put it into the folder"
    if not begins:
        yield f"{NAME}: has no FROM; it begins with `FROM {base}`"


def begin(text: str, base: str, variables: list[str]) -> str:
    """The Dockerfile with the image that it begins with as its first stage; what may come before that stays there."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if FROM.match(line.strip()))
    stage = [f"FROM scratch AS {base}", *(f"ENV {_quote(one)}" for one in variables or [PATH]), f"ADD {BASE} /"]
    return "\n".join([*lines[:first], *stage, *lines[first:]]) + "\n"


def _quote(variable: str) -> str:
    name, _, value = variable.partition("=")
    return f"{name}=" + json.dumps(value, ensure_ascii=False).replace("$", "\\$")


def build(root: Path, context: Path, base: str, where: str, script: str = SCRIPT) -> None:
    """Make what the Dockerfile in `context`, a tar, makes of the root file system `root`, in its place. Raises FarmletError."""
    with tempfile.TemporaryDirectory(prefix="farmlet-image-", dir="/var/tmp") as name:
        work = Path(name)
        (work / "context").mkdir()
        unfold(context, work / "context", where)
        text = (work / "context" / NAME).read_text(errors="replace")
        if faults := list(find_faults(text, base)):
            raise FarmletError(where, faults[0])
        (work / "Dockerfile").write_text(begin(text, base, _read(root)))
        try:
            done = subprocess.run(
                [script, str(root), str(work), USER],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FarmletError(where, f"its Dockerfile was not done within {SECONDS} s") from error
        if done.returncode:
            raise FarmletError(where, f"its Dockerfile was not done\n  {_shorten(done.stderr)}")
        settle(work / "out", json.loads((work / "config.json").read_text())["OCIv1"])
        _replace(root, work / "out", where)


def unfold(context: Path, target: Path, where: str) -> None:
    try:
        with tarfile.open(context) as archive:
            archive.extractall(target, filter="data")
    except tarfile.TarError as error:
        raise FarmletError(where, f"its folder: {error}", "only files, and links within it") from error


def _read(root: Path) -> list[str]:
    try:
        return [str(one) for one in json.loads((root / ENVIRONMENT).read_text())]
    except (OSError, ValueError):
        return []


def settle(root: Path, config: Mapping[str, Any]) -> None:
    """All of it root's, without rights of its own; its variables where Apptainer looks."""
    paths = [str(path.relative_to(root)) for path in root.rglob("*")]
    unpack.settle(root, Told(paths, [], 0))
    # from its base; a link there would lead out
    if (root / ".singularity.d").is_symlink() or not (root / ".singularity.d").is_dir():
        (root / ".singularity.d").unlink(missing_ok=True)
    else:
        shutil.rmtree(root / ".singularity.d")
    unpack.dress(root, config)
    variables = config.get("config", {}).get("Env") or []
    (root / ENVIRONMENT).write_text(json.dumps(variables))


def _replace(root: Path, made: Path, where: str) -> None:
    shutil.rmtree(root)
    program.run(["cp", "-a", str(made), str(root)], where, "df -h /cvmfs", seconds=None)


def _shorten(said: str) -> str:
    """The end of what buildah says, in which what programs said comes first."""
    lines = [line[:300] for line in said.strip().splitlines() if not line.startswith("subprocess exited with")]
    return "\n  ".join("".join(one if one.isprintable() else "?" for one in line) for line in lines[-8:])
