"""The configuration of COBalD and TARDIS, read as those programs read it."""

from __future__ import annotations

from string import Template
from typing import Any

import pytest
from ordering import POOL, make_site
from ruamel.yaml import YAML

from farmlet.errors import FarmletError
from farmlet.parts.overlay import render
from farmlet.parts.overlay.sites import KINDS
from farmlet.parts.overlay.sites.kind import MARGIN


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


def test_cobald_has_one_controller_over_all_sites() -> None:
    settings = load(render.cobald(POOL, [make_site(), make_site("hpc", cores=8, memory=1024, quota=16)]))
    controller, factory = settings["pipeline"]
    assert controller["schedds"] == ["head.example.org", "other.example.org"]
    assert controller["pool"] == "service.example.org:9618"
    assert (controller["cores"], controller["memory"]) == (8, 3072)
    assert controller["sites"] == {"tier1": 8, "hpc": 16}
    assert controller["idle_timeout"] == 30
    assert factory["configuration"] == "/etc/farmlet/overlay/tardis.yml"


def test_tardis_covers_the_whole_life_of_an_order_with_its_token() -> None:
    settings = load(render.tardis(POOL, [make_site(), make_site("hpc", quota=3)]))
    assert [(site["name"], site["quota"]) for site in settings["Sites"]] == [("tier1", 8), ("hpc", 3)]
    executor = settings["tier1"]["executor"]
    assert executor["host"] == "tier1.example.net"
    assert executor["lifetime"] == 1800 + 3600 + MARGIN
    assert settings["Sites"][0]["drone_minimum_lifetime"] < 3600
    assert settings["tier1"]["MachineMetaData"]["drone"] == {"Cores": 2, "Memory": 3.0, "Disk": 0.5}
    assert settings["hpc"]["MachineTypeConfiguration"]["drone"]["jdl"] == "/etc/farmlet/overlay/hpc.jdl"


def test_jdl_keeps_tardis_placeholders_and_becomes_a_submit_description() -> None:
    text = KINDS["htcondor"].write_order(POOL, make_site())
    assert "$$(FarmletOrder).token" in text
    filled = Template(text).substitute(Cores=2, Memory=3072.0, Disk=524288, Arguments="--uuid=tier1-0a")
    commands = dict(line.split(" = ", 1) for line in filled.splitlines() if " = " in line and not line.startswith(("#", "+")))
    assert commands["transfer_input_files"] == "$(FarmletOrder).token, starter.py"
    words = commands["arguments"].split()
    assert {"--uuid=tier1-0a", "--collector=service.example.org:9618", "--credential=lab"} <= set(words)
    assert "queue" not in commands  # TARDIS adds one per drone
    assert "@" not in filled


def test_drones_are_told_of_repositories_where_there_are_some() -> None:
    write = KINDS["htcondor"].write_order
    assert "--cvmfs=sft.cern.ch:lab-one.example.org" in write(
        POOL, make_site(repositories=["sft.cern.ch", "lab-one.example.org"])
    )
    assert "--cvmfs" not in write(POOL, make_site())


@pytest.mark.parametrize("value", ["a b", "/x;reboot", "/x$(Cluster)", '"', "", "/x\n"])
def test_jdl_refuses_what_needs_quotes(value: str) -> None:
    with pytest.raises(FarmletError, match="image"):
        KINDS["htcondor"].write_order(POOL, make_site(image=value))
