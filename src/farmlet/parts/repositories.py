"""The CVMFS repositories of a facility, as far as several parts speak of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farmlet.facility.model import Facility, Node

END = "-----END PUBLIC KEY-----"
# ours, and what sites of other pools call the same: submit files from there hold here
PREFIXES = ("HasCVMFS_", "HAS_CVMFS_")


def list_repositories(facility: Facility) -> list[str]:
    """The repositories that the facility file names, like sft.cern.ch."""
    section = getattr(facility.parts.get("software"), "cvmfs", None)
    return list(getattr(section, "repositories", ()))


def can_mount(node: Node) -> bool:
    """Whether a client is installed there: in a sandbox /cvmfs is one volume of all containers, most of which only read it."""
    return node.connect != "container"


def list_mounted(facility: Facility, node: Node) -> list[str]:
    """The repositories that the node itself mounts."""
    return list_repositories(facility) if can_mount(node) and "software.client" in node.roles else []


def name_suffix(repository: str) -> str:
    """What of an attribute's name stands for the repository: sft_cern_ch. `drone.sh` does the same."""
    return re.sub("[.-]", "_", repository)


def name_attributes(repositories: Iterable[str]) -> list[str]:
    """The attributes of a slot that say that it has the repositories: HasCVMFS_sft_cern_ch."""
    return [prefix + name_suffix(one) for one in repositories for prefix in PREFIXES]


def describe_mounts(facility: Facility) -> dict[str, object]:
    """How a drone mounts them: `servers` and `keys` (PEM texts) by domain, as far as the file names them, and `proxies`."""
    section = getattr(facility.parts.get("software"), "cvmfs", None)
    domains = getattr(section, "domains", {})
    return {
        "servers": {name: ";".join(one.servers) for name, one in domains.items()},
        "keys": {
            name: [f"{key}{END}\n" for key in one.keys.replace("\n\n", "\n").split(END)[:-1]] for name, one in domains.items()
        },
        "proxies": ";".join(getattr(section, "proxies", ())),
    }
