"""A part that nobody knows of, with all that a role may offer: nothing but its own declaration makes it part of a facility."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import farmlet
from farmlet.cli.validate import list_names
from farmlet.engine.deployment import Deployment
from farmlet.engine.layout import CERTIFICATES, CHECKS, METRICS, Layout
from farmlet.engine.nodes.fake import FakeDriver
from farmlet.engine.plan import Target
from farmlet.engine.report import Report
from farmlet.engine.status import endpoints
from farmlet.engine.store import Store
from farmlet.facility.load import loads
from farmlet.facility.model import Facility, Route
from farmlet.parts import units
from farmlet.parts.backup import Backup
from farmlet.parts.base.agent import Examiner
from farmlet.parts.base.collector import Collector
from farmlet.parts.base.tasks import load
from farmlet.parts.part import Check, Metric, Part, Role, find
from farmlet.parts.resources import Certificate, File
from farmlet.runtime.checks import Failed
from farmlet.runtime.metrics import Sample

TEXT = """\
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access, desk]}
  service: {connect: fake, runs: [identity, accounts]}
"""
WEB = units.Web("desk", "desk", "A desk", "desk", "desk:app")


def check_desk(drawers: int) -> str:
    if drawers < 3:
        raise Failed(f"only {drawers} drawers")
    return f"{drawers} drawers"


def count_papers(who: str) -> list[Sample]:
    return [Sample("desk_papers", 7, {"who": who})]


DESK = Part(
    "desk",
    "a desk for everybody",
    needs=("base",),
    roles=(
        Role(
            "pages",
            "members",
            lambda context: (*WEB.files, *WEB.units),
            checks=lambda context: (Check("desk.pages.drawers", f"{__name__}:check_desk", {"drawers": 4}),),
            metrics=lambda context: (Metric("desk.papers", f"{__name__}:count_papers", {"who": context.node.name}),),
            routes=(Route("desk", default=True, origin="desk"), Route("desk", ("/hooks/*",), origin="desk", enter="nodes")),
            endpoints=lambda facility, node: {"desk": facility.url("desk")},
            logins=lambda facility, node: {f"desk_{node.fqdn}": f"sit down at {node.fqdn} as you"},
            data=("/var/lib/desk",),
            backup=Backup(copy=("/var/lib/desk",), quiesce="systemctl stop desk", resume="systemctl start desk"),
            images=lambda facility: ("blotter",),
        ),
    ),
)


@pytest.fixture
def parts() -> dict[str, Part]:
    return find() | {"desk": DESK}


@pytest.fixture
def facility(parts: Mapping[str, Part], tmp_path: Path) -> Facility:
    return loads(TEXT, "facility.yaml", parts, tmp_path)


@pytest.fixture
def deployment(facility: Facility, parts: Mapping[str, Part], tmp_path: Path) -> Deployment:
    store = Store(tmp_path, facility.name)
    store.ensure()
    made = Deployment(facility, parts, (), store, Report(io.StringIO()))
    made.layout = Layout(facility, parts, (), store, dict.fromkeys(facility.nodes, FakeDriver()))
    made.layout.ensure_authorities()
    return made


def find_files(target: Target) -> dict[str, str]:
    return {one.path: str(one.content) for wanted in target.wanted for one in wanted.resources if isinstance(one, File)}


def test_its_page_has_an_origin_of_its_own(deployment: Deployment) -> None:
    head, service = deployment.layout.targets({}, {})
    sites = find_files(head)["/etc/caddy/Caddyfile"].split("\nhttps://")[1:]
    assert [site.split(" ")[0] for site in sites] == ["head.farmlet.test", "desk.farmlet.test"]
    assert "desk.sock" not in sites[0] and "desk.sock" in sites[1] and "/hooks/*" in sites[1] and "client_auth" in sites[1]
    assert "desk" not in find_files(service)["/etc/caddy/Caddyfile"]
    names = [one.names for wanted in head.wanted for one in wanted.resources if isinstance(one, Certificate)]
    assert ("head.farmlet.test", "desk.farmlet.test") in names


def test_its_log_in_is_one_for_the_issuer(deployment: Deployment) -> None:
    _, service = deployment.layout.targets({}, {})
    found = json.loads(find_files(service)["/etc/farmlet/identity.json"])["logins"]
    assert found["desk_head.farmlet.test"] == "sit down at head.farmlet.test as you"
    assert {"ssh", "ssh_head.farmlet.test"} < set(found)


def test_its_name_is_known_wherever_names_are(deployment: Deployment, parts: Mapping[str, Part]) -> None:
    head = deployment.layout.machines()["head"]
    assert head.aliases == ("desk.farmlet.test",) and "/var/lib/desk" in head.data
    for target in deployment.layout.targets({}, {}):
        rows = json.loads(find_files(target)[CHECKS])["checks"]
        (names,) = [row["args"]["names"] for row in rows if row["name"] == "base.trust.names"]
        assert "desk.farmlet.test" in names
    hosts = loads(TEXT.replace("connect: fake", "connect: ssh, address: 192.0.2.1", 1), "facility.yaml", parts)
    assert list_names(hosts) == {"192.0.2.1": ("head.farmlet.test", "desk.farmlet.test")}
    assert endpoints(deployment)["desk"] == "https://desk.farmlet.test"


def test_the_agent_of_its_node_checks_and_counts_it(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "agent.d"
    folder.mkdir()
    head, service = deployment.layout.targets({}, {})
    for path in (CHECKS, METRICS):
        (folder / Path(path).name).write_text(find_files(head)[path])
        assert "desk" not in find_files(service).get(path, "").replace("desk.farmlet.test", "")
    tasks = load(folder)
    checks = [call for call in tasks.checks if call.name.startswith("desk.")]
    assert [row["evidence"] for row in Examiner().examine(checks)] == ["4 drawers"]
    Collector(tmp_path / "metrics").collect([call for call in tasks.metrics if call.name.startswith("desk.")])
    text = (tmp_path / "metrics" / "desk.papers.prom").read_text()
    assert text.endswith('farmlet_desk_papers{who="head"} 7.0\n')


def test_what_it_keeps_and_runs_can_be_asked_of_it(deployment: Deployment) -> None:
    roles = deployment.layout.roles(deployment.facility.nodes["head"])
    kept = {title: role.backup for title, role in roles if isinstance(role.backup, Backup)}
    assert kept["desk.pages"].copy == ("/var/lib/desk",)
    assert "blotter" in [image for _, role in roles for image in role.images(deployment.facility)]


@pytest.mark.parametrize(
    "module",
    [
        *(f"facility/{name}" for name in ("catalog", "load", "model", "routes", "spread")),
        *(f"engine/{name}" for name in ("layout", "status")),
        "parts/base/deploy",
    ],
)
def test_what_brings_parts_together_names_none(module: str) -> None:
    """But for `base`, its own name."""
    known = {name for part in find().values() for name in (part.name, *(f"{part.name}.{role.name}" for role in part.roles))}
    tree = ast.parse((Path(farmlet.__file__).parent / f"{module}.py").read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert [word for word in words & known if word.split(".")[0] != "base"] == []


def test_its_certificate_is_renewed_by_the_node_and_for_no_other_names(deployment: Deployment, tmp_path: Path) -> None:
    for target in deployment.layout.targets({}, {}):
        (tmp_path / "certificates.json").write_text(find_files(target)[CERTIFICATES])
        renewed = {str(one.path): one for one in load(tmp_path).renew}
        wanted = [one for wanted in target.wanted for one in wanted.resources if isinstance(one, Certificate)]
        assert set(renewed) == {one.path for one in wanted if not one.signs}
        for one in wanted:
            assert one.signs or (renewed[one.path].names == one.names and renewed[one.path].client == one.client)
    (proxy,) = [one for path, one in renewed.items() if "proxy" in path]
    assert proxy.reload == ("systemctl", "try-reload-or-restart", "caddy.service")
    service = find_files(deployment.layout.targets({}, {})[1])
    names = {"head.farmlet.test": ["head.farmlet.test", "desk.farmlet.test"], "service.farmlet.test": ["service.farmlet.test"]}
    assert json.loads(service["/etc/farmlet/renewal.json"])["nodes"] == names
