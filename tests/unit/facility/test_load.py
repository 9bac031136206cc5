from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.catalog import PartSpec
from farmlet.facility.load import default_text, load, loads
from farmlet.facility.model import Facility

Catalog = Mapping[str, PartSpec]

GOOD = """\
farmlet: 1
facility: {name: lab, title: A lab, domain: farmlet.test}
nodes:
  head:
    connect: container
    runs: [access, batch]
  service:
    connect: container
    runs: [identity]
groups:
  lab: {login: true}
sites:
  tier1: {kind: htcondor, connect: container}
"""


def faults(text: str, catalog: Catalog) -> list[InputError]:
    with pytest.raises(Errors) as caught:
        loads(text, "facility.yaml", catalog)
    assert caught.value.exit_code == 2
    assert all(isinstance(error, InputError) for error in caught.value.errors)
    return [error for error in caught.value.errors if isinstance(error, InputError)]


def edit(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_the_built_in_sandbox(catalog: Catalog) -> None:
    facility = loads(default_text(), "sandbox", catalog)
    assert (facility.version, facility.name, facility.title) == (1, "lab", "Example analysis facility")
    assert list(facility.nodes) == ["head", "service"]
    assert facility.control is facility.nodes["service"]
    assert facility.nodes["head"].fqdn == "head.farmlet.test"
    assert facility.nodes["head"].memory == 6 * 1024**3
    assert facility.host("batch.access").name == "head"
    assert facility.host("batch.manager").name == "service"
    assert [node.name for node in facility.hosts("base.agent")] == ["head", "service"]
    assert facility.has("tokens.credmon") and not facility.has("bridge.gate")
    assert facility.folder is None
    site = facility.sites["tier1"]
    assert (site.kind, site.user, site.cores, site.quota) == ("htcondor", "drone", 4, 4)
    assert facility.parts["identity"].model_dump() == {"issuer": "builtin", "approval": "admins"}
    assert "bridge" not in facility.parts
    found = facility.rights.of("ada", ["lab/production"])
    assert found.write == ("/data", "/users/ada")
    assert (found.login, found.notebooks_memory, found.batch_group) == (True, 4 * 1024**3, "lab/production")
    lines = default_text().splitlines()
    assert all(f"{path}:" in lines[group.line - 1] for path, group in facility.rights.groups.items())


def test_a_facility_is_frozen_and_can_be_a_key(catalog: Catalog) -> None:
    facility = loads(GOOD, "x", catalog)
    assert {facility: 1}[loads(GOOD, "x", catalog)] == 1
    with pytest.raises(ValueError, match="frozen"):
        facility.name = "other"


def test_roles_are_asked_for_by_name(catalog: Catalog) -> None:
    facility = loads(edit("[identity]", "[identity, batch]").replace("[access, batch]", "[batch]"), "x", catalog)
    with pytest.raises(FarmletError) as none:
        facility.host("overlay.controller")
    assert (none.value.where, none.value.hint) == ("role overlay.controller", "add overlay to `runs` of a node")
    with pytest.raises(FarmletError, match="not head, service"):
        facility.host("batch.execute")


def test_a_file_knows_its_folder(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "facility.yaml"
    path.write_text(GOOD)
    assert load(path, catalog).folder == tmp_path
    path.write_text("farmlet: 2\n")
    with pytest.raises(Errors) as caught:
        load(path, catalog)
    assert f"{path}:1" in [error.where for error in caught.value.errors]


def test_files_that_cannot_be_read(tmp_path: Path, catalog: Catalog) -> None:
    for path, what in [(tmp_path / "none.yaml", "no such file"), (tmp_path, "cannot be read")]:
        with pytest.raises(Errors, match=what) as caught:
            load(path, catalog)
        assert caught.value.exit_code == 2
    (tmp_path / "latin").write_bytes(b"title: \xe4")
    with pytest.raises(Errors, match="cannot be read"):
        load(tmp_path / "latin", catalog)


def test_sources_and_subnet(catalog: Catalog) -> None:
    text = edit("domain: farmlet.test", "domain: farmlet.test, subnet: 172.30.0.0/24")
    facility = loads(text + "sources: {apt: https://apt.example.org/debian, ca: ca.pem}\n", "x", catalog)
    assert facility.subnet == "172.30.0.0/24"
    assert (facility.sources.apt, facility.sources.pip) == ("https://apt.example.org/debian", None)
    assert facility.sources.ca == "ca.pem"


def test_an_external_issuer_moves_the_control_node(catalog: Catalog) -> None:
    text = edit("[identity]", "[accounts]") + "identity: {issuer: https://iam.example.org}\n"
    assert loads(text, "x", catalog).control.name == "service"


def test_sections_left_empty_are_defaults(catalog: Catalog) -> None:
    facility = loads(edit("sites:\n  tier1: {kind: htcondor, connect: container}\n", "sites:\nidentity:\n"), "x", catalog)
    assert facility.sites == {}
    assert facility.parts["identity"].model_dump()["approval"] == "admins"


def service(line: str) -> str:
    """The good file with a further line 9, in the node `service`."""
    return edit("    runs: [identity]", f"    {line}\n    runs: [identity]")


def reach(line: str) -> str:
    """The good file with another line 8, which says how `service` is reached."""
    return edit("  service:\n    connect: container", f"  service:\n    {line}")


BAD = [
    ("not YAML", edit("  head:\n", "  head: [\n"), 6, "not YAML", ""),
    ("tabs", edit("  head:\n", "\thead:\n"), 4, "not YAML", "spaces"),
    ("empty", "# nothing\n", 1, "empty", "farmlet init"),
    ("two documents", GOOD + "---\n" + GOOD, 14, "not YAML", ""),
    ("control character", "farmlet: \x07\n", 1, "not YAML", ""),
    ("empty mapping", "{}\n", 1, "is a mapping", "farmlet init"),
    ("no mapping", "- a\n", 1, "is a mapping", ""),
    ("duplicate node", edit("  service:\n", "  head:\n"), 7, "duplicate key nodes.head", "line 4"),
    ("duplicate key", service("connect: ssh"), 9, "duplicate key", "line 8"),
    ("alias", edit("[access, batch]", "&r [access, batch]").replace("[identity]", "*r"), 6, "alias", ""),
    ("recursion", edit("{login: true}", "&l {login: *l}"), 11, "alias", ""),
    ("tag", edit("A lab", "!!python/name:os.system x"), 2, "not allowed", ""),
    ("merge", edit("    runs: [identity]", "    <<: {runs: [identity]}"), 9, "key must be text", ""),
    ("number as key", edit("  tier1:", "  1:"), 13, "key must be text", ""),
    ("no version", edit("farmlet: 1\n", ""), 1, "farmlet: is missing", "farmlet: 1"),
    ("other version", edit("farmlet: 1", "farmlet: 2"), 1, "version 2", "reads version 1"),
    ("true is no version", edit("farmlet: 1", "farmlet: true"), 1, "version True", ""),
    ("no nodes", "farmlet: 1\nfacility: {name: lab, domain: a.test}\nnodes: {}\n", 3, "nodes: is missing", ""),
    ("nodes as list", "farmlet: 1\nfacility: {name: lab, domain: a.test}\nnodes: [a]\n", 3, "mapping", ""),
    ("unknown section", edit("sites:", "stes:"), 12, "stes: unknown key", "did you mean sites?"),
    (
        "unknown key",
        edit("    runs: [identity]", "    runs: [identity]\n    core: 2"),
        10,
        "nodes.service.core: unknown key",
        "did you mean cores?",
    ),
    (
        "deep unknown key",
        edit("{login: true}", "\n    notebooks:\n      cors: 2"),
        13,
        "groups.lab.notebooks.cors: unknown",
        "cores?",
    ),
    ("derived key", edit("    runs: [identity]", "    roles: [base.agent]"), 9, "nodes.service.roles: unknown key", ""),
    ("no domain", edit(", domain: farmlet.test", ""), 2, "facility.domain: is missing", ""),
    ("bad domain", edit("farmlet.test", "farmlet..test"), 2, "not a DNS name", ""),
    ("bad facility name", edit("name: lab", "name: Lab"), 2, "facility.name: a facility's name", ""),
    ("bad subnet", edit("name: lab", "subnet: 172.30.0.1/24, name: lab"), 2, "host bits", "like"),
    ("bad node name", edit("  service:", "  serv_ice:"), 7, "nodes.serv_ice: a host's name", ""),
    (
        "node is text",
        edit("  head:\n    connect: container\n    runs: [access, batch]\n", "  head: here\n"),
        4,
        "nodes.head: should be a mapping",
        "",
    ),
    ("wrong type", service("cores: two"), 9, "nodes.service.cores: should be a valid integer, not 'two'", ""),
    ("true is no number", service("cores: true"), 9, "cores: should be a valid integer", ""),
    ("runs is text", edit("[identity]", "identity"), 9, "nodes.service.runs: should be a list", ""),
    ("bad connect", reach("connect: contianer"), 8, "nodes.service.connect: should be 'container'", "did you mean container?"),
    ("no connect", edit("  service:\n    connect: container\n", "  service:\n"), 7, "nodes.service.connect: is missing", ""),
    ("ssh without address", reach("connect: ssh"), 7, "nodes.service.address: is missing", "address: HOST"),
    ("bad address", service("address: af_1.org"), 9, "neither an IP address nor a DNS name", ""),
    ("bad host key", service("host_key: AAAA"), 9, "OpenSSH public key", "ssh-keyscan"),
    ("two host keys", service('host_key: "ssh-rsa AA\\n* ssh-rsa BB"'), 9, "OpenSSH public key", "ssh-keyscan"),
    ("title of two lines", edit("title: A lab", 'title: "A\\nlab"'), 2, "facility.title: a title is one line", ""),
    ("title that a terminal obeys", edit("title: A lab", 'title: "A \\e[2J"'), 2, "facility.title: a title is one line", ""),
    ("source of two words", GOOD + "sources: {apt: https://a.org/ b}\n", 14, "is not an http or https URL", ""),
    ("bad memory", service("memory: 6 gigs"), 9, "'6 gigs' is not a size", "6G"),
    ("memory without unit", service("memory: 6"), 9, "less than 1M", "6G"),
    ("unknown part", edit("[access, batch]", "\n    - access\n    - bach"), 8, "unknown part bach", "did you mean batch?"),
    ("unknown role", edit("[access, batch]", "[access, batch.exec]"), 6, "part batch has no role 'exec'", "execute"),
    ("no control node", edit("[identity]", "[storage]"), 3, "head, service could be the control node", "identity"),
    ("two control nodes", edit("[access, batch]", "[access, batch, identity]"), 3, "head, service could be", "exactly one"),
    (
        "no parent",
        edit("  lab: {login: true}", "  lab: {login: true}\n  lob/x: {}"),
        12,
        "its parent lob is not declared",
        "did you mean lab?",
    ),
    ("bad group", edit("  lab: {login", "  Lab: {login"), 11, "groups.Lab: a group is a path", ""),
    ("group of the system", edit("  lab: {login", "  docker: {login"), 11, "docker is a name of the system", ""),
    (
        "colliding groups",
        edit("  lab: {login: true}", "  lab:\n  lab/x:\n  lab-x:"),
        13,
        "its accounting group lab_x is also that of lab/x",
        "rename",
    ),
    (
        "relative path",
        edit("{login: true}", "{storage: {read: [data]}}"),
        11,
        "groups.lab.storage.read.0: 'data' is not an absolute",
        "/users/{user}",
    ),
    ("path with ..", edit("{login: true}", "{storage: {write: [/a/../b]}}"), 11, "`..`", ""),
    ("bad share", edit("{login: true}", "{batch: {share: 0}}"), 11, "groups.lab.batch.share: should be greater than 0", ""),
    ("local site", edit("kind: htcondor, connect: container", "kind: slurm, connect: local"), 13, "sites.tier1.connect", ""),
    (
        "ssh site",
        edit("kind: htcondor, connect: container", "kind: slurm, connect: ssh"),
        13,
        "sites.tier1.address: is missing",
        "",
    ),
    ("site named as a node", edit("  tier1:", "  head:"), 13, "a node has this name", "rename"),
    ("bad source", GOOD + "sources: {pip: simple}\n", 14, "sources.pip: 'simple' is not an http", ""),
    ("part's key", GOOD + "identity:\n  aproval: admins\n", 15, "identity.aproval: unknown key", "did you mean approval?"),
    ("part's value", GOOD + "identity: {approval: admin}\n", 14, "identity.approval: should be 'admins'", "did you mean admins?"),
    ("part without settings", GOOD + "overlay: {a: 1}\n", 14, "overlay: this part has no settings", ""),
    ("part that needs settings", edit("[access, batch]", "[access, bridge]"), 1, "bridge.target: is missing", ""),
    (
        "one port, two parts",
        edit("[access, batch]", "[access, storage, bridge]") + "bridge: {target: x}\n",
        6,
        "storage.server and bridge.gate both listen on port 8443",
        "",
    ),
    (
        "a server of homes on two nodes",
        edit("[access, batch]", "[access, accounts.files]").replace("[identity]", "[identity, accounts.files]"),
        9,
        "nodes.service.runs: accounts.files is on node head too",
        "of one node",
    ),
]


@pytest.mark.parametrize(("text", "line", "what", "hint"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_files(text: str, line: int, what: str, hint: str, catalog: Catalog) -> None:
    found = faults(text, catalog)
    assert len(found) == 1, [str(error) for error in found]
    assert found[0].where == f"facility.yaml:{line}"
    assert what in found[0].what
    assert hint in found[0].hint


def test_the_file_the_faults_are_made_from_is_good(catalog: Catalog) -> None:
    assert isinstance(loads(GOOD, "facility.yaml", catalog), Facility)


def test_two_nodes_on_one_machine(catalog: Catalog) -> None:
    text = GOOD.replace("connect: container\n    runs", "connect: ssh\n    address: 192.0.2.7\n    runs")
    found = faults(text, catalog)
    assert [(error.where, "address of node head too" in error.what) for error in found] == [("facility.yaml:10", True)]
    assert loads(text.replace("    runs: [identity]", "    port: 2222\n    runs: [identity]"), "x", catalog)


MANY = """\
farmlet: 3
facility: {name: LAB, domain: farmlet.test, colour: red}
nodes:
  head:
    connect: container
    cores: two
    memory: 6 gigs
    runs: [access, storage, bridge, batsh]
  disk: {connect: ssh}
  disk: {connect: local}
  service:
    connect: ssh
    address: a b
    runs: [identity, batch.exekute]
groups:
  lab: {login: maybe, storage: {read: [data], write: [/a/../b]}}
  lab/x: {}
  lab-x: {}
  lob/x: {}
sites:
  tier1: {kind: htcondor, connect: cable}
identity: {approval: everybody}
monitring: {}
"""


def test_all_faults_are_told_at_once(catalog: Catalog) -> None:
    found = faults(MANY, catalog)
    told = [(int(error.where.rpartition(":")[2]), error.what) for error in found]
    assert [line for line, _ in told] == [1, 1, 2, 2, 6, 7, 8, 8, 9, 10, 13, 14, 16, 16, 16, 18, 19, 21, 22, 23]
    for line, what in [
        (1, "version 3"),
        (1, "bridge.target: is missing"),
        (2, "facility.colour: unknown key"),
        (6, "nodes.head.cores"),
        (7, "nodes.head.memory"),
        (8, "unknown part batsh"),
        (8, "both listen on port 8443"),
        (9, "nodes.disk.address: is missing"),
        (10, "duplicate key nodes.disk"),
        (13, "nodes.service.address"),
        (14, "no role 'exekute'"),
        (16, "groups.lab.login"),
        (16, "groups.lab.storage.write.0"),
        (18, "UNIX group lab-x"),
        (19, "parent lob"),
        (21, "sites.tier1.connect"),
        (22, "identity.approval"),
        (23, "monitring: unknown key"),
    ]:
        assert any(at == line and what in text for at, text in told), (line, what)
