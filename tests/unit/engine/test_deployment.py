"""A whole deployment over fake nodes: what `up` asks for and in which order, and what `plan` says before and after."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from farmlet.engine import deployment as module
from farmlet.engine.apply import Done
from farmlet.engine.deployment import ROUNDS, Deployment
from farmlet.engine.layout import Layout
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.engine.nodes.fake import FakeDriver, FakeShell
from farmlet.engine.nodes.ssh import SshDriver
from farmlet.engine.plan import Change, Seen, Target
from farmlet.engine.report import Report
from farmlet.engine.rotation import rotate_ca
from farmlet.engine.status import endpoints
from farmlet.engine.store import Store
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.load import loads
from farmlet.facility.model import Facility, Route
from farmlet.parts.part import Check, Part, Role, SiteAccess, Trust, find
from farmlet.parts.resources import Certificate, File
from farmlet.runtime import certificates

# the facility of these tests after `upper` was taken out of it
WITHOUT = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test}
nodes:
  head: {connect: fake, runs: [lower]}
  service: {connect: fake, runs: [identity]}
"""


class Rig:
    """A deployment whose nodes are fake; `applied` is what it was made to do: (node, role, label), round by round."""

    def __init__(self, deployment: Deployment, stream: io.StringIO) -> None:
        self.deployment, self.stream = deployment, stream
        self.driver = FakeDriver()
        self.applied: list[list[tuple[str, str, str]]] = []
        self.lost: list[str] = []  # labels that do not stay

    def drivers(self, layout: Any, make: bool = True) -> dict[str, FakeDriver]:
        return dict.fromkeys(layout.names(), self.driver)

    def apply(self, targets: Sequence[Target], changes: Mapping[str, Sequence[Change]], *rest: Any) -> None:
        tell: Callable[[Done], None] = rest[-1]
        self.applied.append([])
        for target in targets:
            for change in changes.get(target.name, ()):
                self.applied[-1].append((target.name, change.role, change.resource.label))
                tell(Done(target.name, change.resource.label, True, 0.0))
                if change.resource.label in self.lost:
                    self.lost.remove(change.resource.label)
                else:
                    self.shell(target.name).present.add(change.resource.label)

    def shell(self, name: str) -> FakeShell:
        return self.driver.nodes[name]

    def again(self, facility: Facility) -> Deployment:
        """Another process, with what this one left."""
        made = Deployment(facility, self.deployment.layout.parts, (), self.deployment.store, Report(io.StringIO()))
        made.sandbox.drivers = self.drivers  # type: ignore[method-assign]
        return made


@pytest.fixture
def rig(facility: Facility, parts: dict[str, Part], store: Store, monkeypatch: pytest.MonkeyPatch) -> Rig:
    stream = io.StringIO()
    made = Rig(Deployment(facility, parts, (), store, Report(stream)), stream)
    monkeypatch.setattr(made.deployment.sandbox, "drivers", made.drivers)
    monkeypatch.setattr(module, "apply", made.apply)
    monkeypatch.setattr(module, "check_host", lambda layout, sandbox: None)
    return made


def test_roles_are_done_in_the_order_of_needs(rig: Rig) -> None:
    assert rig.deployment.up() > 0
    (first,) = rig.applied
    head = [(role, label) for node, role, label in first if node == "head"]
    roles = list(dict.fromkeys(role for role, _ in head))
    assert roles == ["base.agent.install", "base.agent", "lower.ground", "upper.roof", "engine.checks"]
    assert head[0] == ("base.agent.install", "packages python3"), "install comes before any configuration"
    assert [label for role, label in head if role == "lower.ground"] == [
        "file /etc/lower",
        "step make lower",
        "unit lower.service",
    ]
    assert {node for node, _, _ in first} == {"head", "service"}
    assert not [label for node, _, label in first if node == "service" and "upper" in label]


def test_a_second_look_finds_nothing(rig: Rig) -> None:
    assert not rig.deployment.plan().empty
    rig.deployment.up()
    assert rig.deployment.plan().empty
    assert rig.again(rig.deployment.facility).up() == 0
    assert len(rig.applied) == 1


def test_what_is_lost_is_seen_and_mended_alone(rig: Rig) -> None:
    rig.deployment.up()
    rig.shell("head").present.remove("file /etc/lower")
    plan = rig.deployment.plan()
    assert [(change.node, change.role, change.resource.label) for change in plan.changes] == [
        ("head", "lower.ground", "file /etc/lower"),
        ("head", "lower.ground", "step make lower"),
        ("head", "lower.ground", "unit lower.service"),
    ]
    rig.deployment.up()
    assert [label for _, _, label in rig.applied[1]] == [change.resource.label for change in plan.changes]


def test_a_role_that_is_taken_out_of_a_node_is_stopped_there(
    rig: Rig, load_facility: Callable[[str], Facility], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.deployment.up()
    again = rig.again(load_facility(WITHOUT))
    left = [("head", "upper.roof.left", "no unit upper.service")]
    assert [(one.node, one.role, one.resource.label) for one in again.plan().changes] == left
    rig.lost = ["no unit upper.service"]  # an `up` that ends early remembers what is left
    with monkeypatch.context() as early:
        early.setattr(module, "ROUNDS", 1)
        with pytest.raises(FarmletError):
            again.up()
    assert rig.applied[1] == left
    again.up()
    assert rig.applied[2] == left and again.plan().empty
    assert "upper.roof" not in rig.deployment.store.load()["made"]["head"]


def test_a_role_that_came_with_an_up_that_failed_is_remembered_too(rig: Rig, load_facility: Callable[[str], Facility]) -> None:
    rig.lost = ["step make upper"] * 99
    with pytest.raises(FarmletError):
        rig.deployment.up()
    changes = rig.again(load_facility(WITHOUT)).plan().changes
    assert ("upper.roof.left", "no unit upper.service") in {(one.role, one.resource.label) for one in changes}


def test_absent_and_stopped_nodes(rig: Rig) -> None:
    assert rig.deployment.plan().missing == {"head": "absent", "service": "absent"}
    rig.deployment.up()
    rig.deployment.down()
    plan = rig.deployment.plan()
    assert plan.missing == {"head": "stopped", "service": "stopped"} and plan.changes == () and not plan.empty
    rig.driver.ensure(rig.deployment.layout.machines()["head"])
    plan = rig.deployment.plan()
    assert plan.missing == {"service": "stopped"} and plan.changes == (), "what runs is looked at all the same"
    rig.deployment.up()
    assert len(rig.applied) == 1, "a node that comes back has what it had"


def test_starting_a_node_is_a_change(rig: Rig) -> None:
    rig.deployment.up()
    rig.deployment.down()
    before = rig.deployment.report.operations
    assert rig.deployment.up() - before == 2 and len(rig.applied) == 1


def test_another_size_is_told_before_and_made(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.deployment.up()
    monkeypatch.setattr(rig.driver, "differs", lambda machine: "memory is 4 GiB instead of 6" if machine.name == "head" else "")
    plan = rig.deployment.plan()
    assert plan.resized == {"head": "memory is 4 GiB instead of 6"} and not plan.empty
    before = rig.deployment.report.operations
    assert rig.deployment.up() - before == 1


def test_what_a_node_cannot_become_is_told_before_anything_is_made(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.deployment.up()
    refusals = {name: InputError(f"nodes.{name}.runs", "keeps data", "do this") for name in ("head", "service")}
    monkeypatch.setattr(rig.driver, "refusal", lambda machine: refusals.get(machine.name))
    before = rig.deployment.report.operations, len(rig.applied)
    with pytest.raises(Errors) as caught:
        rig.deployment.up()
    assert [one.where for one in caught.value.errors] == ["nodes.head.runs", "nodes.service.runs"]
    assert (rig.deployment.report.operations, len(rig.applied)) == before


@pytest.fixture
def lose(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on these nodes do not answer."""

    def lose(*names: str) -> None:
        def ensure(machine: Machine) -> None:
            if machine.name in names:
                raise InputError(f"node {machine.name}", "cannot log in by SSH", "put the key there")
            FakeDriver.ensure(rig.driver, machine)

        def state(machine: Machine) -> str:
            return "unreachable" if machine.name in names else FakeDriver.state(rig.driver, machine)

        monkeypatch.setattr(rig.driver, "ensure", ensure)
        monkeypatch.setattr(rig.driver, "state", state)

    return lose


def test_a_host_that_does_not_answer_keeps_nobody_from_what_is_new(rig: Rig, lose: Callable[..., None]) -> None:
    rig.deployment.up()
    made = rig.deployment.store.load()["made"]
    for name in ("head", "service"):
        rig.shell(name).present.remove("packages python3")
    lose("head")
    rig.deployment.up()
    assert {node for node, _, _ in rig.applied[1]} == {"service"} and rig.deployment.store.load()["made"] == made
    (error,) = rig.deployment.away.values()
    assert error.where == "node head" and "it stays as it is" in error.what and "--lost" in error.hint and error.exit_code == 1
    plan = rig.deployment.plan()
    assert plan.changes == () and plan.missing == {"head": "unreachable"} and plan.away == ("head",)
    lose()
    rig.deployment.up()
    assert {node for node, _, _ in rig.applied[2]} == {"head"} and not rig.deployment.away


def test_what_an_absent_host_was_made_for_is_not_forgotten(
    rig: Rig, lose: Callable[..., None], load_facility: Callable[[str], Facility]
) -> None:
    rig.deployment.up()
    lose("head")
    again = rig.again(load_facility(WITHOUT))
    again.up()
    assert [*again.away] == ["head"]
    lose()
    again.up()
    assert ("head", "upper.roof.left", "no unit upper.service") in rig.applied[-1]


@pytest.mark.parametrize("names", [("service",), ("head", "service")])
def test_without_the_control_node_nothing_is_done(rig: Rig, lose: Callable[..., None], names: tuple[str, ...]) -> None:
    rig.deployment.up()
    lose(*names)
    with pytest.raises(Errors) as caught:
        rig.deployment.up()
    assert [one.where for one in caught.value.errors] == ["node service"] and len(rig.applied) == 1
    assert "service" not in rig.deployment.plan().away


def test_all_hosts_that_were_never_there_are_told_at_once(rig: Rig, lose: Callable[..., None]) -> None:
    lose("head", "service")
    with pytest.raises(Errors) as caught:
        rig.deployment.up()
    assert {one.where for one in caught.value.errors} == {"node head", "node service"} and caught.value.exit_code == 2


def test_a_plan_of_a_running_facility_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.deployment.up()
    folder = rig.deployment.store.path
    (folder / "ca.key").unlink()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(module, "observe", lambda target: Seen((), {"/k": "ssh-ed25519 NEW"}))
    rig.deployment.plan()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


ADDRESSED = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test}
nodes:
  head: {connect: ssh, address: 192.0.2.7, runs: [upper]}
  work: {connect: ssh, address: work.example.org, runs: [lower]}
  service: {connect: container, runs: [identity]}
"""


def test_hosts_named_by_address_know_all_names(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store
) -> None:
    facility = load_facility(ADDRESSED)
    layout = Layout(facility, parts, (), store, {})
    layout.drivers = {
        **{
            name: SshDriver(facility.nodes[name].address or "", 22, "root", store.key, store.known, None)
            for name in ("head", "work")
        },
        "service": ContainerDriver(None, "tiny", "farmlet-tiny", {"service": "10.213.4.10"}, store.key),
    }
    assert layout.addressed() == {"head.tiny.test": "192.0.2.7", "service.tiny.test": "10.213.4.10"}
    for target in layout.targets({}, {}):
        (step,) = target.configure[0].resources
        assert target.configure[0].role == "engine.names" and "192.0.2.7\thead.tiny.test" in repr(vars(step)).replace("\\t", "\t")


def test_what_up_makes_of_a_check_is_known_beside_the_nodes_list(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store
) -> None:
    told = Check("desk.secret", "m:f", by_hand=True), Check("desk.away", "m:f", external=True, after=("desk.secret",))
    desk = Role("desk", "members", lambda context: (), checks=lambda context: told)
    parts["lower"] = replace(parts["lower"], roles=(*parts["lower"].roles, desk))
    facility = load_facility(ADDRESSED)
    layout = Layout(facility, parts, (), store, {name: FakeDriver() for name in facility.nodes})
    layout.targets({}, {})
    assert (layout.by_hand, layout.external, layout.after["desk.away"]) == ({"desk.secret"}, {"desk.away"}, ("desk.secret",))


def test_names_of_web_services_lead_to_their_node(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store
) -> None:
    pages = Role("pages", "members", lambda context: (), routes=(Route("desk", default=True, origin="desk"),))
    parts["lower"] = replace(parts["lower"], roles=(*parts["lower"].roles, pages))
    facility = load_facility(ADDRESSED.replace("ssh, address: 192.0.2.7", "container"))
    layout = Layout(facility, parts, (), store, {})
    given = {"head": "10.213.4.10", "service": "10.213.4.11"}
    layout.drivers = dict.fromkeys(facility.nodes, ContainerDriver(None, "tiny", "farmlet-tiny", given, store.key))
    assert layout.machines()["work"].aliases == ("desk.tiny.test",)
    assert sorted(layout.addressed()) == ["head.tiny.test", "service.tiny.test"], "work is found by DNS, with all its names"
    facility = load_facility(ADDRESSED.replace("work.example.org", "192.0.2.8"))
    layout = Layout(facility, parts, (), store, dict.fromkeys(facility.nodes, layout.drivers["head"]))
    layout.drivers = layout.drivers | {"work": SshDriver("192.0.2.8", 22, "root", store.key, store.known, None)}
    assert layout.addressed()["desk.tiny.test"] == layout.addressed()["work.tiny.test"] == "192.0.2.8"


def test_a_facility_of_containers_leaves_names_to_docker(rig: Rig) -> None:
    rig.deployment.up()
    assert not [role for node, role, _ in rig.applied[0] if role == "engine.names"]


def test_a_facility_that_was_never_up(rig: Rig) -> None:
    rig.deployment.store.remove()
    assert rig.deployment.plan().missing == {"head": "absent", "service": "absent"}
    assert not rig.deployment.store.exists(), "a plan makes nothing"


def test_the_ca_reaches_the_nodes_and_its_key_does_not(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Target] = []

    def apply(targets: Sequence[Target], *rest: Any) -> None:
        seen.extend(targets)
        rig.apply(targets, *rest)

    monkeypatch.setattr(module, "apply", apply)
    rig.deployment.up()
    text = repr(seen)
    assert "BEGIN CERTIFICATE" in text and "PRIVATE KEY" not in text


def test_the_agents_checks_are_listed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.deployment.up()
    targets = rig.deployment._targets
    listing = [one for wanted in targets[0].configure for one in wanted.resources if one.label.endswith("checks.json")]
    assert len(listing) == 1 and "base.agent.unit" in repr(listing)


@pytest.mark.parametrize("lost", [1, ROUNDS - 1])
def test_several_rounds_are_allowed_and_the_last_one_counts(rig: Rig, lost: int) -> None:
    rig.lost = ["file /etc/lower"] * lost
    rig.deployment.up()
    assert len(rig.applied) == lost + 1 and rig.deployment.plan().empty


def test_what_never_settles_is_told(rig: Rig) -> None:
    rig.lost = ["file /etc/lower"] * 99
    with pytest.raises(FarmletError) as caught:
        rig.deployment.up()
    assert "/etc/lower" in caught.value.what and caught.value.hint and len(rig.applied) <= ROUNDS + 1


def test_an_error_leaves_the_facility_free(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*rest: Any) -> None:
        raise Errors([FarmletError("node head, unit x", "why", "hint")])

    monkeypatch.setattr(module, "apply", fail)
    with pytest.raises(Errors):
        rig.deployment.up()
    assert "✗" in rig.stream.getvalue()
    monkeypatch.setattr(module, "apply", rig.apply)
    rig.deployment.up()
    assert rig.deployment.plan().empty


def test_two_at_once_are_refused(rig: Rig) -> None:
    with rig.deployment.store.locked(), pytest.raises(InputError):
        rig.deployment.up()
    assert rig.applied == []


def test_known_hosts_are_kept_private(rig: Rig) -> None:
    rig.deployment.up()
    known = rig.deployment.store.known
    assert known.read_text() == "192.0.2.1 ssh-ed25519 AAAA\n" and known.stat().st_mode & 0o777 == 0o600
    once = known.read_text()
    rig.deployment.up()
    assert known.read_text() == once


def test_down_and_purge(rig: Rig) -> None:
    rig.deployment.up()
    rig.deployment.down()
    assert rig.driver.nodes and not rig.driver.running and rig.deployment.store.exists()
    for _ in range(2):
        rig.deployment.down(purge=True)
        assert not rig.driver.nodes and not rig.deployment.store.exists()


def test_a_command_on_a_node(rig: Rig) -> None:
    rig.deployment.up()
    rig.deployment.run("head", ["uptime"])
    assert rig.shell("head").commands[-1] == ["uptime"]
    with pytest.raises(InputError) as caught:
        rig.deployment.run("nowhere", ["uptime"])
    assert "nowhere" in caught.value.where and "head, service" in caught.value.hint


def test_up_on_fake_nodes_needs_no_stand_in_for_apply(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect: fake` may stand in a file: the real `apply` must take it, or say no in words."""
    monkeypatch.undo()
    deployment = rig.deployment
    monkeypatch.setattr(deployment.sandbox, "drivers", rig.drivers)
    monkeypatch.setattr(module, "check_host", lambda layout, sandbox: None)
    try:
        deployment.up()
    except FarmletError as error:
        assert error.hint


class Site:
    """A stand-in site that wants nothing."""

    mounts = ()

    def __init__(self, facility: Facility) -> None:
        self.site = facility.sites["tier1"]
        self.fqdn = "tier1.sites.tiny.test"

    def access(self, key: str, ca: str) -> SiteAccess:
        return SiteAccess("tier1", self.fqdn, "drone", key, ca, "https://se.tiny.test:8443")

    def install(self) -> tuple[()]:
        return ()

    def configure(self, view: Any) -> tuple[()]:
        return ()


def test_endpoints_of_a_facility_that_runs(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `farmlet demo` asks first, in a process that did not run `up`."""
    text = "farmlet: 1\nfacility: {name: tiny, domain: tiny.test}\nnodes: {service: {connect: fake, runs: [identity]}}\n"
    facility = load_facility(text + "sites: {tier1: {kind: htcondor, connect: container}}\n")
    deployment = Deployment(facility, parts, (Site(facility),), store, Report(io.StringIO()))
    driver = FakeDriver()
    monkeypatch.setattr(deployment.sandbox, "drivers", lambda layout, make=True: dict.fromkeys(layout.names(), driver))
    found = endpoints(deployment)
    assert found["issuer"] == "https://service.tiny.test" and found["storage@tier1"] == "https://se.tiny.test:8443"


def test_endpoints_are_what_the_roles_of_all_nodes_say(store: Store) -> None:
    text = "farmlet: 1\nfacility: {name: tiny, domain: tiny.test}\nnodes:\n"
    for name, runs in {"one": "access, storage", "service": "identity, accounts", "two": "access, storage"}.items():
        text += f"  {name}: {{connect: fake, runs: [{runs}]}}\n"
    text += "storage: {elements: [{name: far, kind: webdav, url: https://se.example.org:8443}]}\n"
    found = find()
    deployment = Deployment(loads(text, "facility.yaml", found), found, (), store, Report(io.StringIO()))
    assert list(endpoints(deployment).items()) == [
        ("issuer", "https://service.tiny.test"),
        ("ssh", "one.tiny.test"),
        ("storage", "https://one.tiny.test:8443"),
        ("storage@two", "https://two.tiny.test:8443"),
        ("storage@far", "https://se.example.org:8443"),
    ]


def test_a_node_that_is_new_in_the_file_is_no_crash(store: Store) -> None:
    """`logs`, `check`, `node list` between an edit of the file and the next `up`: the new node has no address yet."""
    driver = ContainerDriver(None, "tiny", "farmlet-tiny", {}, store.key)
    for ask in (driver.address, driver.shell):
        with pytest.raises(FarmletError) as caught:
            ask(Machine("fresh", "fresh.tiny.test"))
        assert "fresh" in caught.value.where and "farmlet up" in caught.value.hint


def show(trust: Trust) -> tuple[File, File]:
    return File("/etc/ca.pem", trust.ca), File("/etc/ca.crl", trust.revoked)


def test_a_new_authority_comes_with_a_new_renewal_authority(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Certificate("/var/renewal.crt", "/var/renewal.key", ("tiny.test",), signs=True)
    leaf = Certificate("/etc/node.crt", "/etc/node.key", ("service.tiny.test",))
    parts = rig.deployment.layout.parts
    role = replace(parts["identity"].roles[0], configure=lambda context: (own, leaf, *show(context.trust)))
    monkeypatch.setitem(rig.deployment.layout.parts, "identity", replace(parts["identity"], roles=(role,)))  # type: ignore[arg-type]
    rig.deployment.up()
    assert not [words for words in rig.shell("service").commands if words[0] == "rm"]
    before = rig.deployment.layout.authority().read()
    found = rotate_ca(rig.deployment, False, "ada")
    assert [words for words in rig.shell("service").commands if words[0] == "rm"] == [["rm", "-f", own.key, own.path]]
    after = rig.deployment.layout.authority().read()
    placed = [one for target in rig.deployment._targets for wanted in target.wanted for one in wanted.resources]
    contents = {one.path: str(one.content) for one in placed if isinstance(one, File)}
    assert before != after == contents["/etc/ca.pem"]
    assert certificates.lasts(contents["/etc/ca.crl"].encode(), after.encode(), 400), "and its own list of what it revoked"
    (name,) = x509.load_pem_x509_certificate(after.encode()).subject
    assert str(name.value).startswith("tiny.test: "), "others find it by its name, which is this facility's alone"
    assert found.failed == [] and found.keys[0]["state"] == "signs" and any("farmlet login" in line for line in found.left)
