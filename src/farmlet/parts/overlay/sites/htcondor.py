"""Sites with an HTCondor pool, reached by SSH to a submit host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.overlay.sites.kind import MARGIN, Pool, Site, find_pause
from farmlet.parts.part import Check, SiteAccess

GIB = 1024  # MiB
WORD = re.compile(r"[A-Za-z0-9._:/-]+")  # what drone.sh and HTCondor's arguments take without quotes
# What drones that gave up said within the last minutes: they are ordered again and again while jobs wait. Then the queue; the
# name is empty where the submit host has no daemon of its own.
QUESTION = """find {folder} -name '*.err' -mmin -10 -exec grep -h '^drone: ' {{}} + | sort | uniq -c | sort -rn | head -n 3
condor_status -schedd -af Name || true; condor_q -totals | tail -n 1"""


class _At(Template):
    """@{name}: TARDIS uses the dollar."""

    delimiter = "@"


def find_folder(pool: Pool) -> str:
    """Where drones' files are at a site, from the account's home."""
    return f"farmlet-{pool['trust']}"


class HTCondor:
    """Drones are jobs of the account for drones."""

    adapter = "HTCondor"

    def configure(self, pool: Pool, site: Site) -> Mapping[str, Any]:
        executor = {
            "__type__": "farmlet.parts.overlay.executor.TokenExecutor",
            "host": site["host"],
            "username": site["user"],
            "client_keys": [site["key"]],
            "known_hosts": site["known"],
            "config": [],  # nothing from the account's own ssh configuration
            "folder": find_folder(pool),
            "programs": list(pool["programs"]),
            "pool": pool["collector"],
            "pending": site["pending"],
            "lifetime": site["pending"] + site["walltime"] + MARGIN,
            "told": find_pause(pool["told"], site["name"]),
        }
        return {
            "executor": executor,
            "bulk_delay": 0.2,
            "MachineTypes": ["drone"],
            "MachineTypeConfiguration": {"drone": {"jdl": site["order"]}},
            "MachineMetaData": {"drone": {"Cores": site["cores"], "Memory": site["memory"] / GIB, "Disk": site["disk"] / GIB}},
        }

    def write_order(self, pool: Pool, site: Site) -> str:
        """The submit description. Raises FarmletError when a value has characters that would need quoting."""
        values = {
            "collector": pool["collector"],
            "trust": pool["trust"],
            "site": site["name"],
            "image": site["image"],
            "certificates": site["certificates"],
            "credential": pool["credential"],
            "walltime": str(site["walltime"]),
            "idle": str(site["idle"]),
        }
        if site["repositories"]:
            values["cvmfs"] = ":".join(site["repositories"])
        if site["software"]:
            values |= {"software": site["software"], "cache": str(site["cache"])}
        for name, value in values.items():
            if not WORD.fullmatch(value):
                raise FarmletError(
                    f"site {site['name']}",
                    f"{name} {value!r} has characters that a drone cannot be given",
                    "use letters, digits and . _ : / -",
                )
        arguments = " ".join(f"--{name}={value}" for name, value in values.items())
        text = files("farmlet.parts.overlay").joinpath("templates/drone.jdl").read_text()
        more = ", published.py, facility.pem" if site["software"] else ""
        more += ", mounts.sh" if site["repositories"] else ""
        limit = str(site["walltime"] + MARGIN)
        return _At(text).substitute(arguments=arguments, pending=str(site["pending"]), limit=limit, more=more)

    def check(self, pool: Pool, access: SiteAccess) -> Check:
        asked = {"host": access.host, "user": access.user, "question": QUESTION.format(folder=find_folder(pool))}
        asked["pause"] = find_pause(pool["told"], access.name)
        return Check(f"overlay.site.{access.name}", "farmlet.parts.overlay.checks:check_site", asked, external=True)
