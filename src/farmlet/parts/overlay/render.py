"""The configuration of COBalD and TARDIS as text: pure functions, dict in, text out.

Both programs read YAML; what is written here is JSON, which YAML contains, so that no value needs quoting by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any, TypedDict

from farmlet.errors import FarmletError

GIB = 1024  # MiB
MARGIN = 600  # seconds a token outlives its drone
RETIREMENT = 0.8  # share of its walltime after which a drone takes no new jobs, so that those it has can end
CHATTY = ("asyncssh", "cobald.runtime.tardis.resources.dronestates", "cobald.runtime.daemon.services")
WORD = re.compile(r"[A-Za-z0-9._:/-]+")  # what drone.sh and HTCondor's arguments take without quotes


class Site(TypedDict):
    """A site of kind `htcondor` and the drones ordered there; times in seconds, memory in MiB.

    `name`: lower case. `host`, `user`: its submit host. On the control node, paths of `key`, a private SSH key, of
    `known`, a known_hosts file, and of `jdl`, what the function of that name renders. `cores`, `memory`, `disk`: of one
    drone; `quota`: cores at once. `image`: default container image of jobs, `certificates`: folder of CA certificates
    with a `bundle.pem`, paths at the site. `idle`: unclaimed for so long a drone ends itself. `pending`: longest wait
    in the site's queue.
    """

    name: str
    host: str
    user: str
    key: str
    known: str
    jdl: str
    cores: int
    memory: int
    disk: int
    quota: int
    image: str
    certificates: str
    walltime: int
    idle: int
    pending: int


class Pool(TypedDict):
    """The overlay pool. `collector`: host:port as drones reach it. `trust`: its trust domain. `schedds`: access points.

    `program`: path of drone.sh, `settings`: of the rendered tardis.yml, `registry`: of TARDIS' database, all on the
    control node. `credential`: the service whose token jobs find in BEARER_TOKEN_FILE. `hold`: seconds without need
    before drones go.
    """

    collector: str
    trust: str
    schedds: Sequence[str]
    program: str
    settings: str
    registry: str
    credential: str
    hold: int


class _At(Template):
    """@{name}: TARDIS uses the dollar."""

    delimiter = "@"


def cobald(pool: Pool, sites: Sequence[Site]) -> str:
    """cobald.yml: one controller over all sites (two would each order drones for the same jobs)."""
    controller = {
        "__type__": "farmlet.parts.overlay.controller.DemandController",
        "schedds": list(pool["schedds"]),
        "pool": pool["collector"],
        "cores": max(site["cores"] for site in sites),
        "memory": max(site["memory"] for site in sites),
        "maximum": sum(site["quota"] for site in sites),
        "hold": pool["hold"],
    }
    factory = {"__type__": "tardis.resources.poolfactory.create_composite_pool", "configuration": pool["settings"]}
    # The journal adds the time. At INFO asyncssh tells every command, TARDIS every drone's state at every heartbeat.
    logging = {
        "version": 1,
        "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
        "handlers": {"journal": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {name: {"level": "WARNING"} for name in CHATTY},
        "root": {"level": "INFO", "handlers": ["journal"]},
    }
    return _write({"pipeline": [controller, factory], "logging": logging})


def tardis(pool: Pool, sites: Sequence[Site]) -> str:
    """tardis.yml: the overlay batch system and the sites."""
    settings: dict[str, Any] = {
        "Plugins": {"SqliteRegistry": {"db_file": pool["registry"]}},
        "BatchSystem": {
            "adapter": "HTCondor",
            "options": {"pool": pool["collector"]},
            "ratios": {
                "cpu_ratio": "Real(TotalSlotCpus-Cpus)/TotalSlotCpus",
                "memory_ratio": "Real(TotalSlotMemory-Memory)/TotalSlotMemory",
            },
            "max_age": 0.03,  # minutes
        },
        "Sites": [{"name": site["name"], "adapter": "HTCondor", "quota": site["quota"], **_pace(site)} for site in sites],
    }
    for site in sites:
        settings[site["name"]] = _section(pool, site)
    return _write(settings)


def _pace(site: Site) -> dict[str, int]:
    # TARDIS' "minimum lifetime" is the time after which it drains an available drone. One state a heartbeat (2 s).
    return {"drone_heartbeat_interval": 2, "drone_minimum_lifetime": int(site["walltime"] * RETIREMENT)}


def _section(pool: Pool, site: Site) -> dict[str, Any]:
    executor = {
        "__type__": "farmlet.parts.overlay.executor.TokenExecutor",
        "host": site["host"],
        "username": site["user"],
        "client_keys": [site["key"]],
        "known_hosts": site["known"],
        "config": [],  # nothing from the account's own ssh configuration
        "folder": f"farmlet-{pool['trust']}",
        "program": pool["program"],
        "pool": pool["collector"],
        "pending": site["pending"],
        "lifetime": site["pending"] + site["walltime"] + MARGIN,
    }
    return {
        "executor": executor,
        "bulk_delay": 0.2,
        "MachineTypes": ["drone"],
        "MachineTypeConfiguration": {"drone": {"jdl": site["jdl"]}},
        "MachineMetaData": {"drone": {"Cores": site["cores"], "Memory": site["memory"] / GIB, "Disk": site["disk"] / GIB}},
    }


def jdl(pool: Pool, site: Site) -> str:
    """The submit description of the drones of `site`, still with TARDIS' own placeholders.

    Raises FarmletError when a value has characters that would need quoting.
    """
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
    for name, value in values.items():
        if not WORD.fullmatch(value):
            raise FarmletError(
                f"site {site['name']}",
                f"{name} {value!r} has characters that a drone cannot be given",
                "use letters, digits and . _ : / -",
            )
    arguments = " ".join(f"--{name}={value}" for name, value in values.items())
    text = files("farmlet.parts.overlay").joinpath("templates/drone.jdl").read_text()
    limit = str(site["walltime"] + MARGIN)
    return _At(text).substitute(arguments=arguments, pending=str(site["pending"]), limit=limit)


def _write(settings: Mapping[str, Any]) -> str:
    return "# Written by farmlet; changes are undone by the next `farmlet up`.\n" + json.dumps(settings, indent=2) + "\n"
