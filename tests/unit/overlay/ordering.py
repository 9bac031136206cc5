"""A pool and a site, as the tests of what is rendered for them have them."""

from __future__ import annotations

from typing import Any

from farmlet.parts.overlay.sites.kind import Pool, Site

POOL = Pool(
    collector="service.example.org:9618",
    trust="example.org",
    schedds=["head.example.org", "other.example.org"],
    programs=["/usr/lib/farmlet/drone.sh", "/usr/lib/farmlet/starter.py"],
    settings="/etc/farmlet/overlay/tardis.yml",
    registry="/var/lib/farmlet/overlay/drones.db",
    credential="lab",
    idle_timeout=30,
    told="/demand.json",
    gates="/gates",
)


def make_site(name: str = "tier1", **changes: Any) -> Site:
    site = Site(
        name=name,
        kind="htcondor",
        host=f"{name}.example.net",
        user="drone",
        key="/key",
        known="/known",
        order=f"/etc/farmlet/overlay/{name}.jdl",
        cores=2,
        memory=3072,
        disk=512,
        quota=8,
        image="/cvmfs/unpacked/analysis",
        certificates="/cvmfs/example.org/certificates",
        walltime=3600,
        idle=120,
        pending=1800,
        repositories=[],
        software="",
        cache=1024,
    )
    site.update(changes)  # type: ignore[typeddict-item]
    return site
