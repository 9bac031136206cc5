"""The seam of a site kind: how drones are ordered at a batch system that is not ours. A kind is one file beside this one.

Nothing else knows a kind by name. Its stand-in, if there is one, is the file of the same name in `farmlet.standins`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol, TypedDict

from farmlet.parts.part import Check, SiteAccess

MARGIN = 600  # seconds a token outlives its drone


class Site(TypedDict):
    """A site of a `kind` and the drones ordered there; times in seconds, memory in MiB.

    `name`: lower case. `host`, `user`: its submit host. On the control node, paths of `key`, a private SSH key, of
    `known`, a known_hosts file, and of `order`, the text that `Kind.write_order` makes. `cores`, `memory`, `disk`: of one
    drone; `quota`: cores at once. `image`: default container image of jobs, `certificates`: folder of CA certificates
    with a `bundle.pem`, paths at the site. `idle`: unclaimed for so long a drone ends itself. `pending`: longest wait
    in the site's queue. `repositories`: of CVMFS, whose presence the drone tells. `software`: the URL at which drones fetch what
    their site has not of /cvmfs, "" for none; `cache`: MiB that they keep of it on a host.
    """

    name: str
    kind: str
    host: str
    user: str
    key: str
    known: str
    order: str
    cores: int
    memory: int
    disk: int
    quota: int
    image: str
    certificates: str
    walltime: int
    idle: int
    pending: int
    repositories: Sequence[str]
    software: str
    cache: int


class Pool(TypedDict):
    """The overlay pool. `collector`: host:port as drones reach it. `trust`: its trust domain. `schedds`: access points.

    `programs`: paths of what drones run, `settings`: of the rendered tardis.yml, `registry`: of TARDIS' database, all on the
    control node. `credential`: the service whose token jobs find in BEARER_TOKEN_FILE. `idle_timeout`: seconds without need
    before drones go. `told`: where the controller tells its check what it found. `gates`: folder of the sites' gates.
    """

    collector: str
    trust: str
    schedds: Sequence[str]
    programs: Sequence[str]
    settings: str
    registry: str
    credential: str
    idle_timeout: int
    told: str
    gates: str


def find_pause(told: str, name: str) -> str:
    """Where the executor of the site `name` tells that it orders no drones for a while; `told`: of the pool."""
    return str(PurePath(told).with_name(f"pause-{name}.json"))


class Kind(Protocol):
    """A kind of site."""

    @property
    def adapter(self) -> str:
        """The name of TARDIS' site adapter."""
        ...

    def configure(self, pool: Pool, site: Site) -> Mapping[str, Any]:
        """The site's section of tardis.yml: settings of the adapter, and the executor, which brings each drone its token."""
        ...

    def write_order(self, pool: Pool, site: Site) -> str:
        """What the adapter submits, still with TARDIS' placeholders. Raises FarmletError for what a drone cannot be given."""
        ...

    def check(self, pool: Pool, access: SiteAccess) -> Check:
        """That the site lets the overlay in, its batch system answers and no drone gave up of late.

        It is external: a site that is away fails no `up`.
        """
        ...
