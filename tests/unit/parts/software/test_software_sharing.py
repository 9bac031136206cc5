"""Who fetches what is published, who serves it, and what is said of Dockerfiles and publishers in the facility file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts import part
from farmlet.parts.overlay.deploy import describe_pool
from farmlet.parts.part import Check, Context, Trust
from farmlet.parts.resources import File, Packages, Resource
from farmlet.parts.sharing import fetches, find_url, serves
from farmlet.parts.software.deploy import PART
from farmlet.parts.software.unpacked.area import Setting

TEXT = """
farmlet: 1
facility: {name: af, title: Example, domain: af.test}
nodes:
  head: {connect: HEAD, address: head.example.org, runs: [access, batch, software, storage, notebooks]}
  service: {connect: SERVICE, address: service.example.org, runs: [identity, accounts, overlay, tokens]}
groups: {lab: {login: true}}
sites: {tier1: {kind: htcondor, connect: SITE, address: tier1.example.org}}
"""


def load(head: str, service: str, site: str, more: str = "", folder: Path | None = None) -> Facility:
    text = TEXT
    for word, connect in (("HEAD", head), ("SERVICE", service), ("SITE", site)):
        name = {"HEAD": "head", "SERVICE": "service", "SITE": "tier1"}[word]
        text = text.replace(word, connect)
        if connect == "container":
            text = text.replace(f", address: {name}.example.org", "")
    return loads(text + more, "facility.yaml", part.find(), folder)


def configure(facility: Facility, node: str, role: str) -> list[Resource]:
    return list(PART.role(role).configure(Context(facility, facility.nodes[node], Trust(""), "0" * 64)))


def check(facility: Facility, node: str, role: str) -> dict[str, Check]:
    found = PART.role(role).checks(Context(facility, facility.nodes[node], Trust(""), "0" * 64))
    return {one.name: one for one in found}


@pytest.mark.parametrize(
    ("machines", "more", "expected"),
    [
        (("container", "container", "container"), "", (False, False)),
        (("container", "container", "ssh"), "", (False, True)),
        (("ssh", "container", "container"), "", (True, True)),
        (("ssh", "ssh", "container"), "", (True, True)),
        (("ssh", "ssh", "ssh"), "software: {shared: true}", (False, False)),
        (("container", "container", "container"), "software: {shared: false}", (False, True)),
        (("ssh", "ssh", "ssh"), "software: {shared: false}", (True, True)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) and isinstance(value[0], str) else None,
)
def test_who_does_not_share_it_fetches_it(machines: tuple[str, str, str], more: str, expected: tuple[bool, bool]) -> None:
    facility = load(*machines, more)
    assert (fetches(facility, facility.nodes["head"]), serves(facility)) == expected
    assert not fetches(facility, facility.nodes["service"]), "who publishes has it"
    assert ("software.mirror" in check(facility, "head", "client")) == expected[0]
    assert check(facility, "head", "client")["software.run"].external == expected[0], "it comes some time after `up`"
    assert ("software.sharing" in check(facility, "service", "build")) == expected[1]
    written = {one.path for one in configure(facility, "head", "client") if isinstance(one, File)}
    assert ("/etc/farmlet/mirror.json" in written) == expected[0]
    programs = describe_pool(Context(facility, facility.nodes["service"], Trust(""), "0" * 64))["programs"]
    assert ("/usr/lib/farmlet/published.py" in programs) == expected[1]
    assert find_url(facility) == "https://service.af.test/software"


def write(folder: Path, text: str) -> None:
    (folder / "fit").mkdir()
    (folder / "fit/Dockerfile").write_text(text)
    (folder / "fit/tool").write_text("#!/bin/sh\n")


DOCKERFILE = "software: {images: [{name: fit, dockerfile: fit}]}"


def test_a_dockerfiles_folder_goes_to_the_node_that_builds(tmp_path: Path) -> None:
    write(tmp_path, "FROM analysis\nCOPY tool /usr/bin/tool\n")
    facility = load("container", "container", "container", DOCKERFILE, tmp_path)
    found = configure(facility, "service", "build")
    assert Packages(("buildah", "netavark")) in found
    told = {one.path: one for one in found if isinstance(one, File)}
    recipe = json.loads(told["/etc/farmlet/images.json"].content)["images"][1]
    assert (recipe["base"], recipe["context"], len(recipe["content"])) == ("analysis", "/usr/lib/farmlet/images/fit.tar", 64)
    assert b"COPY tool" in told[recipe["context"]].data
    (tmp_path / "fit/tool").write_text("another")
    again = json.loads(
        {one.path: one for one in configure(facility, "service", "build") if isinstance(one, File)}[
            "/etc/farmlet/images.json"
        ].content
    )["images"][1]
    assert again["content"] != recipe["content"], "another folder is another image"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        ("FROM debian:13\n", "fit/Dockerfile:1: begins with debian:13"),
        ("FROM analysis\nADD https://example.org/x /\n", "fit/Dockerfile:2: fetches something"),
        ("FROM analysis\n" + "#" * (9 << 20), "has more than 8 MiB"),
    ],
    ids=["none", "registry", "address", "large"],
)
def test_a_dockerfile_is_looked_at_before_anything_is_built(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        write(tmp_path, text)
    with pytest.raises(Errors, match=words):
        load("container", "container", "container", DOCKERFILE, tmp_path)


PUBLISHER = "software: {unpacked: list.yaml, publisher: true}"


def test_a_publisher_has_the_area_aside(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("version: 1\ncvmfs_repo: unpacked.af.test\ninput: [docker.io/library/debian:13]\n")
    facility = load("ssh", "ssh", "ssh", PUBLISHER, tmp_path)
    told = {one.path: one for one in configure(facility, "service", "build") if isinstance(one, File)}
    setting = Setting.read(str(told["/etc/farmlet/unpacked.json"].content))
    assert (setting.folder, setting.shown) == ("/var/lib/farmlet/unpacked/unpacked.af.test", "/cvmfs/unpacked.af.test")
    service = str(told["/etc/systemd/system/farmlet-publisher.service"].content)
    assert "publish /var/lib/farmlet/unpacked/unpacked.af.test unpacked.af.test\n" in service
    assert json.loads(told["/etc/farmlet/sharing.json"].content)["lists"] == ["/cvmfs/unpacked"], "CVMFS carries the other"
    assert {"software.unpacked", "software.publisher"} <= set(check(facility, "service", "build"))
    with pytest.raises(Errors, match="service is a container, and publishers are hosts"):
        load("container", "container", "container", PUBLISHER, tmp_path)
