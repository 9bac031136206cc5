"""The stand-in site: an independent HTCondor pool with a storage element of its own, on one machine.

It is not part of the facility. What it knows of it is what a real site would be told: the issuer's URL, the authority
that vouches for that URL, and the public key of the account for drones. It carries no physics software.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farmlet.engine.layout import View
from farmlet.facility.model import Facility, Site
from farmlet.facility.places import SOFTWARE
from farmlet.parts.batch import deploy as batch
from farmlet.parts.batch.minting import UNIT
from farmlet.parts.overlay.deploy import KEY
from farmlet.parts.part import SiteAccess
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Command, Directory, File, Packages, Resource, Unit
from farmlet.parts.software.deploy import APPTAINER
from farmlet.parts.storage import element

PACKAGE = "farmlet.standins"
POOL = f"{batch.CONFIG}/10-site.config"
LOCAL_CA = "/usr/local/share/ca-certificates/farmlet-facility.crt"
# what an SSH log-in with the overlay's key may not do: forwarding of any kind, a terminal
LIMITS = "restrict"


@dataclass(frozen=True)
class Tier1:
    """A site of kind `htcondor`; of `facility` it takes the name and the domain it stands beside."""

    site: Site
    facility: Facility

    @property
    def fqdn(self) -> str:
        return f"{self.site.name}.sites.{self.facility.domain}"

    @property
    def mounts(self) -> tuple[str, ...]:
        return (SOFTWARE,)

    def access(self, key: str, ca: str) -> SiteAccess:
        """How the facility reaches it; `key` is its SSH host key, `ca` its own authority (PEM)."""
        return SiteAccess(self.site.name, self.fqdn, self.site.user, key, ca, element.url(self.fqdn))

    def install(self) -> Sequence[Resource]:
        return (
            *batch.install_condor(POOL),
            *element.install(),  # first: a compiler of Debian 13 does not go with a C library of sid, if Apptainer wants that
            *APPTAINER,
            Packages(("bubblewrap",)),
        )

    def configure(self, view: View) -> Sequence[Resource]:
        facility = view.facility
        authorities = {"site": view.own, "facility": view.ca}
        return (
            *self._admit(view),
            File(POOL, self._pool()),
            Unit(UNIT),
            # the storage element asks the issuer for its keys, over TLS by the system's trust
            File(LOCAL_CA, view.ca),
            Command("system trust", "update-ca-certificates --fresh >/dev/null"),
            *element.configure(self.fqdn, facility.issuer, facility.name, authorities, element.find_groups(facility)),
        )

    def _admit(self, view: View) -> Sequence[Resource]:
        """The account for drones. Until the overlay's key has been seen, nobody has it."""
        user = self.site.user
        home = f"/home/{user}"
        hosts = view.facility.hosts("overlay.controller")
        keys = [view.keys.get(node.name, {}).get(KEY, "") for node in hosts]
        return (
            Account(user, home, shell="/bin/bash"),
            Directory(home, 0o700, user, user),
            # the facility's check logs in each few seconds: its service manager is not started and ended each time
            Command(f"{user} lingers", f"loginctl enable-linger {user}", f"test -e /var/lib/systemd/linger/{user}"),
            Directory(f"{home}/.ssh", 0o700, user, user),
            File(f"{home}/.ssh/authorized_keys", "".join(f"{LIMITS} {key}\n" for key in keys if key), 0o600, user, user),
        )

    def _pool(self) -> str:
        memory = self.site.memory // batch.MIB if self.site.memory else None
        return render(PACKAGE, "htcondor.config", fqdn=self.fqdn, cores=self.site.cores, memory=memory)
