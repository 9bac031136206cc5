"""An image of a registry as a file of a member's own: `farmlet-image docker://HOST/REPOSITORY:TAG`. Apptainer fetches and unpacks
it as the member, and verifies digests. Standard library only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from farmlet.errors import InputError
from farmlet.parts.software.members.making import choose, making, put, run

SCHEME = "docker://"
REFERENCE = re.compile(r"docker://[A-Za-z0-9][A-Za-z0-9._:/@-]{0,400}")
# a server that does not start is no fault of the image's
LOOK = """
command -v jupyterhub-singleuser > /dev/null && python3 -c "import jupyterhub as one; print('hub', one.__version__)" 2> /dev/null
:
"""


def is_mounted(folder: Path, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether Apptainer finds what is mounted there: files of btrfs tell another number than its mounts have."""
    device = folder.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}" in {line.split()[2] for line in Path(mounts).read_text().splitlines()}


def pull(reference: str, name: str, folder: Path) -> Path:
    """The file, below `folder`, once a shell has started in it. Raises FarmletError or InputError."""
    if not REFERENCE.fullmatch(reference):
        raise InputError("farmlet-image", "this is no image of a registry", "docker://docker.io/library/debian:13")
    target = folder / f"{choose(name, re.split('[:@]', Path(reference).name)[0])}.sif"
    with making(folder, target.stem) as work:
        if is_mounted(work):
            os.environ["APPTAINER_TMPDIR"] = str(work)
        made = work / "image.sif"
        run(["apptainer", "-s", "build", "--disable-cache", str(made), reference], reference)
        said = run(["apptainer", "-s", "exec", "--containall", "--no-home", str(made), "/bin/sh", "-c", LOOK], "its shell", 300)
        found = re.search(r"^hub ([0-9][0-9A-Za-z.]{0,30})$", said, re.MULTILINE)
        put(made, target, "", found[1] if found else "")
    return target
