"""Elements that are not ours: what the facility file may say of them, and what their admins are told."""

from __future__ import annotations

import json
import re

import pytest

from farmlet.errors import Errors, InputError
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Context, ElementAccess, Trust, find
from farmlet.parts.resources import Certificate
from farmlet.parts.storage import element, remote
from farmlet.parts.storage.deploy import check_probe, configure_element, write_guide
from farmlet.parts.storage.elements import find_elements

TEXT = """
farmlet: 1
facility: {name: lab, title: Example, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access, storage]}
  disk: {connect: fake, runs: [storage]}
  service: {connect: fake, runs: [identity, accounts]}
groups:
  lab: {login: true, storage: {read: [/], write: ["/users/{user}"]}}
  lab/production: {storage: {write: [/data]}}
"""
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
EXTERNAL = "identity: {issuer: https://iam.example.org/}\n"
ELEMENT = "  - {{name: {name}, kind: {kind}, url: {url}, prefix: {prefix}, authorise: {authorise}}}\n"


def load(*elements: str, more: str = "") -> Facility:
    listed = "storage:\n  elements:\n" + "".join(elements) if elements else ""
    return loads(TEXT + listed + more, "facility.yaml", find())


def one(
    name: str = "far", kind: str = "xrootd", url: str = "https://se.example.org", prefix: str = "/", authorise: str = "scopes"
) -> str:
    return ELEMENT.format(name=name, kind=kind, url=url, prefix=prefix, authorise=authorise)


def test_every_fault_is_told_at_once() -> None:
    wrong = [
        one(url="http://se.example.org"),
        one("near", url="https://se.example.org/path"),
        one("Far"),
        one("up", prefix="/a/../b"),
        one("down", kind="ftp"),
        one("left", authorise="both"),
    ]
    with pytest.raises(Errors) as caught:
        load(*wrong)
    faults = [str(error) for error in caught.value.errors]
    for number, key in enumerate(("url", "url", "name", "prefix", "kind", "authorise")):
        assert any(f"storage.elements.{number}.{key}" in fault for fault in faults), (number, faults)


@pytest.mark.parametrize(
    "elements, said",
    [
        ((one("far"), one("far", url="https://other.example.org")), "the same name twice: far"),
        ((one("far"), one("near", url="https://SE.example.org/")), "the same place twice"),
        ((one("head"),), "a node or site has this name too: head"),
    ],
)
def test_names_and_places_are_one_elements_alone(elements: tuple[str, ...], said: str) -> None:
    with pytest.raises(Errors, match=said):
        load(*elements)


def test_two_on_one_host_differ_by_their_prefix() -> None:
    facility = load(one("far", prefix="/a"), one("near", prefix="/b", authorise="groups"))
    assert find_elements(facility) == {
        "far": ElementAccess("far", "https://se.example.org/a", "https://se.example.org", True),
        "near": ElementAccess("near", "https://se.example.org/b", "https://se.example.org", False),
    }


def test_how_long_the_issuers_keys_are_kept_is_known_of_each_kind() -> None:
    kinds = ("dcache", "xrootd", "webdav")
    found = find_elements(load(*(one(kind, kind=kind, url=f"https://{kind}.example.org") for kind in kinds)))
    assert {name: access.keeps_keys for name, access in found.items()} == {"dcache": 21600, "xrootd": 600, "webdav": 21600}
    assert "gPlazma" in found["dcache"].afresh


def test_each_certificate_is_a_file_of_its_own() -> None:
    trust = Trust("OWN\n", elements={"far": ElementAccess("far", "https://x", "https://x", True, PEM + PEM)})
    assert trust.authorities == {"facility": "OWN\n", "element-far": PEM, "element-far-2": PEM}
    assert trust.bundle == "OWN\n" + PEM + PEM


def test_a_page_for_scopes_has_no_groups() -> None:
    page = remote.describe(load(one(prefix="/vo/lab")), "far", "CA\n")
    tokens = page.files["/etc/xrootd/tokens-lab-far.cfg"]
    assert (
        "base_path = /vo/lab\n" in tokens and "authorization_strategy = capability\n" in tokens and "onmissing = deny\n" in tokens
    )
    assert f"audience = {element.ANY}, https://se.example.org\n" in tokens
    assert not any("groups" in path for path in page.files)
    server = re.sub(r"#.*", "", page.files["/etc/xrootd/config.d/lab-far.cfg"])
    assert "acc.authdb" not in server and "++" not in server
    for text in page.files.values():
        assert text.strip() in page.text
    assert "CA\n" in page.text and "issuer = https://service.farmlet.test\n" in page.text


def test_a_page_for_groups_gives_paths_below_the_prefix_and_none_to_single_members() -> None:
    page = remote.describe(load(one(prefix="/vo/lab", authorise="groups")), "far", "CA\n")
    table = re.sub(r"#.*\n", "", page.files["/etc/xrootd/groups-lab-far"])
    assert table == "g /lab /vo/lab/ rl\ng /lab/production /vo/lab/data/ a /vo/lab/ rl\n"
    assert "authorization_strategy = group\n" in page.files["/etc/xrootd/tokens-lab-far.cfg"]
    assert "{user}" not in page.text and "| `/lab/production` | `/vo/lab/data` | read, write, delete |" in page.text


@pytest.mark.parametrize("kind, words", [("dcache", "gplazma.oidc.provider!lab"), ("webdav", "storm"), ("xrootd", "ofs.authlib")])
@pytest.mark.parametrize("authorise", ["scopes", "groups"])
def test_there_is_a_page_for_every_kind(kind: str, words: str, authorise: str) -> None:
    page = remote.describe(load(one(kind=kind, prefix="/vo", authorise=authorise)), "far", "")
    assert words in page.text and "https://service.farmlet.test" in page.text and "authority of the issuer" not in page.text
    assert "\n\n\n" not in page.text and "{{" not in page.text and "{%" not in page.text


def test_a_name_that_is_not_in_the_file_is_told() -> None:
    with pytest.raises(InputError, match="elements: far"):
        remote.describe(load(one()), "near", "")
    with pytest.raises(InputError, match="elements"):
        remote.describe(load(), "near", "")


def test_each_storage_node_is_an_element_of_its_own_and_all_are_known_everywhere() -> None:
    facility = load(one(prefix="/vo", kind="dcache"), one("near", url="https://near.example.org", authorise="groups"))
    trust = Trust("CA\n", elements=find_elements(facility))
    contexts = {name: Context(facility, facility.nodes[name], trust, "0" * 64) for name in facility.nodes}
    guides = {name: json.loads(write_guide(context, "guide").data)["elements"] for name, context in contexts.items()}
    urls = {row["name"]: row["url"] for row in guides["disk"]}
    assert urls == {
        "head": "https://head.farmlet.test:8443",
        "disk": "https://disk.farmlet.test:8443",
        "far": "https://se.example.org/vo",
        "near": "https://near.example.org",
    }
    assert guides["head"] == guides["disk"] == guides["service"]
    kinds = {row["name"]: row["kind"] for row in guides["disk"]}
    assert kinds == {"head": "xrootd", "disk": "xrootd", "far": "dcache", "near": "xrootd"}
    # near goes by groups, which no program of ours is in
    probes = check_probe(contexts["service"])
    checked = {check.name: check.args["url"] for check in probes}
    assert [check.name for check in probes if check.external] == ["storage.keeps.far"], "ours must hold when `up` ends"
    assert checked == {f"storage.keeps.{name}": url for name, url in urls.items() if name != "near"}
    known = set(contexts["service"].elements)
    assert known == {url.removesuffix("/vo") for url in urls.values()}
    for name in ("head", "disk"):
        certificate = next(one for one in configure_element(contexts[name]) if isinstance(one, Certificate))
        assert certificate.names == (f"{name}.farmlet.test",)


def test_with_an_external_issuer_nothing_of_ours_writes() -> None:
    facility = load(one(authorise="groups"), more=EXTERNAL)
    context = Context(facility, facility.nodes["service"], Trust("CA\n", elements=find_elements(facility)), "0" * 64)
    assert check_probe(context) == ()


def test_with_an_external_issuer_elements_go_by_groups() -> None:
    silent = "  - {name: silent, kind: webdav, url: https://silent.example.org}\n"  # by default it is scopes
    with pytest.raises(Errors) as caught:
        load(one("far", authorise="groups"), one("near", url="https://near.example.org"), silent, more=EXTERNAL)
    told = [f"{error.where}: {error.what}" for error in caught.value.errors]
    said = "would go by scopes, which https://iam.example.org/ grants by a policy of its own"
    assert told == [
        f"facility.yaml:14: storage.elements.1.authorise: element near {said}",
        f"facility.yaml:15: storage.elements.2.authorise: element silent {said}",
    ]
    assert all("authorise: groups" in error.hint for error in caught.value.errors)


def test_dcache_goes_by_scopes_alone_or_by_them_first() -> None:
    """Its profile of tokens knows no other order; nothing is named that the page does not give."""
    scopes, groups = (remote.describe(load(one(kind="dcache", authorise=by)), "far", "").text for by in ("scopes", "groups"))
    assert "-authz-id=" in scopes and "multimap.file" not in scopes
    assert "-authz-id=" not in groups and "and not by scopes" not in groups and "only scopes open them" in groups
    for text in (scopes, groups):  # without a home directory every login fails
        assert re.search(r"^session +requisite +omnisession$", text, re.MULTILINE)
        assert "\nusername:lab root:/ home:/\n" in text and "crl-mode = IF_VALID" in text
        assert "Not tried" not in text and "11.2.5" in text
    named = re.findall(r"multimap.file=(\S+)", groups)
    assert named and f"`{named[0]}`" in groups
    assert re.search(r"^op:lab +uid:UID gid:GID,true username:lab\noidcgrp:/lab +gid:GID$", groups, re.MULTILINE)


def test_what_holds_of_our_own_issuer_is_not_said_of_others() -> None:
    own = remote.describe(load(one(authorise="groups")), "far", "").text
    other = remote.describe(load(one(authorise="groups"), more=EXTERNAL), "far", "").text
    # copies go by the authority of our elements, whosever the issuer is
    dcache = load(one(kind="dcache", authorise="groups"), more=EXTERNAL)
    assert "OWN\n```" in (text := remote.describe(dcache, "far", "", "OWN\n").text) and "keytool" not in text
    assert "service.farmlet.test/authority/$file" in text
    assert "signed with ES256" in own and "ES256" not in other
    assert not re.search("checks this element", own + other)  # no program of ours is in a group
