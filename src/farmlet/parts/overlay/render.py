"""The configuration of COBalD and TARDIS as text: pure functions, dict in, text out.

Both programs read YAML; what is written here is JSON, which YAML contains, so that no value needs quoting by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.parts.overlay.sites import KINDS
from farmlet.parts.overlay.sites.kind import Pool, Site

RETIREMENT = 0.8  # share of its walltime after which a drone takes no new jobs, so that those it has can end
CHATTY = ("asyncssh", "cobald.runtime.tardis.resources.dronestates", "cobald.runtime.daemon.services")


def cobald(pool: Pool, sites: Sequence[Site]) -> str:
    """cobald.yml: one controller over all sites (two would each order drones for the same jobs)."""
    controller = {
        "__type__": "farmlet.parts.overlay.controller.DemandController",
        "schedds": list(pool["schedds"]),
        "pool": pool["collector"],
        "cores": max(site["cores"] for site in sites),
        "memory": max(site["memory"] for site in sites),
        "sites": {site["name"]: site["quota"] for site in sites},
        "gates": pool["gates"],
        "idle_timeout": pool["idle_timeout"],
        "told": pool["told"],
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
        "Sites": [_place(site) for site in sites],
    }
    for site in sites:
        settings[site["name"]] = KINDS[site["kind"]].configure(pool, site)
    return _write(settings)


def _place(site: Site) -> dict[str, Any]:
    # TARDIS' "minimum lifetime" is the time after which it drains an available drone. One state a heartbeat (2 s).
    pace = {"drone_heartbeat_interval": 2, "drone_minimum_lifetime": int(site["walltime"] * RETIREMENT)}
    return {"name": site["name"], "adapter": KINDS[site["kind"]].adapter, "quota": site["quota"], **pace}


def _write(settings: Mapping[str, Any]) -> str:
    return "# Written by farmlet; changes are undone by the next `farmlet up`.\n" + json.dumps(settings, indent=2) + "\n"
