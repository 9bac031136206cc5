"""The recipe of a software image: pinned contents in, a shell script out. Nothing here runs anything.

The script builds an unpacked Debian root that Apptainer starts directly (no registry, no image format in between), the
way WLCG sites find images below /cvmfs/unpacked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from string import Template

# what speaks to storage elements; nodes have it from part storage
CLIENTS = (
    "curl",
    "davix",
    "gfal2-plugin-file",
    "gfal2-plugin-http",
    "gfal2-plugin-xrootd",
    "gfal2-util-scripts",
    "xrootd-client",
)


# what the shipped image says of itself as nobody, before it is offered: the software of analyses, of jobs and of servers.
# HTCondor's module is not among it, since without a network that looks for the host's name for minutes: `build.sh` imports it
TEST = """\
python3 -c 'import aiohttp, awkward, fsspec_xrootd, hist, iminuit, ipykernel, matplotlib.pyplot, uproot, XRootD.client'
python3 -c 'import dask.distributed, jupyter_resource_usage, jupyterhub, jupyterlab, jupyterlab_git'
for one in condor_submit curl davix-get gfal-copy git xrdcp; do command -v $one > /dev/null; done
"""


class _Script(Template):
    """Placeholders are `@@name`: the dollar and the single at sign belong to the shell."""

    delimiter = "@@"


@dataclass(frozen=True)
class Image:
    """What an image holds: Debian `packages` of `suite`, and Python wheels by pinned `requirements` (pip's format)."""

    name: str
    requirements: str
    packages: tuple[str, ...]
    suite: str = "trixie"

    @property
    def digest(self) -> str:
        """sha256 (hex) over the contents and the script, so that a change of either rebuilds the image."""
        text = json.dumps(asdict(self), sort_keys=True) + read("build.sh") + bearer()
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def stamp(self) -> str:
        """The one line that a built image carries in /etc/farmlet-image: `NAME DIGEST`."""
        return f"{self.name} {self.digest}"


def analysis() -> Image:
    """The image of the demo and the default of jobs: Python with the Scikit-HEP tools, and the clients of storage."""
    python = ("libpython3-stdlib", "python3", "python3-venv")
    return Image("analysis", requirements(), ("ca-certificates", "condor", "git", "openssh-client", "procps", *python, *CLIENTS))


def requirements() -> str:
    """The analysis image's Python packages, pinned (pip's format)."""
    return read("analysis.txt")


def bearer() -> str:
    """The module that gives `https://` its token in Python; see there."""
    return files(__package__).joinpath("bearer.py").read_text()


def render(image: Image) -> str:
    """The script (bash, run by root as `build.sh TARGET`) that builds `image` at TARGET, replacing what is there.

    Needs mmdebstrap on the node. Safe to repeat; `built` tells whether it is needed.
    """
    return _Script(read("build.sh")).substitute(
        requirements=image.requirements.strip(),
        bearer=bearer().strip(),
        packages=",".join(image.packages),
        suite=image.suite,
        stamp=image.stamp,
    )


def built(image: Image, target: str) -> str:
    """A shell test that holds when exactly this `image` is at `target`."""
    return f'[ "$(cat {target}/etc/farmlet-image 2>/dev/null)" = "{image.stamp}" ]'


def find_hub() -> str:
    """The version of the facility's JupyterHub, with which a server in an image must go together."""
    text = (files("farmlet.parts") / "requirements" / "hub.txt").read_text()
    return text.partition("\njupyterhub==")[2].split()[0]


def read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text()
