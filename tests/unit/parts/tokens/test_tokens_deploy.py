"""What part tokens wants on an access point."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from rotation import Issuer, store, watch

from farmlet.errors import FarmletError
from farmlet.facility.load import loads
from farmlet.facility.places import SESSION_UNIT
from farmlet.parts.access import adoption
from farmlet.parts.access.deploy import PART as ACCESS
from farmlet.parts.accounts.deploy import PART as ACCOUNTS
from farmlet.parts.base.deploy import PART as BASE
from farmlet.parts.batch.deploy import PART as BATCH
from farmlet.parts.identity.deploy import PART as IDENTITY
from farmlet.parts.part import Context, ElementAccess, SiteAccess, Trust
from farmlet.parts.resources import Command, Directory, File
from farmlet.parts.storage.deploy import PART as STORAGE
from farmlet.parts.storage.elements import find_elements
from farmlet.parts.tokens.deploy import FOLDER, PART, PROGRAM, STORER, find_arguments
from farmlet.parts.tokens.renewer import Renewer
from farmlet.parts.tokens.source import Issuers, Source

CATALOG = {part.name: part for part in (BASE, IDENTITY, ACCOUNTS, ACCESS, BATCH, STORAGE, PART)}
TEXT = """
farmlet: 1
facility: {name: af, title: Example, domain: af.test}
nodes:
  head: {connect: fake, runs: [access, batch, storage]}
  service: {connect: fake, runs: [identity, accounts, tokens]}
groups: {lab: {login: true}}
"""


def configure(more: str = "", elements: Mapping[str, ElementAccess] | None = None) -> tuple[dict[str, File], list[Directory]]:
    facility = loads(TEXT + more, "facility.yaml", CATALOG)
    site = SiteAccess("tier1", "tier1.test", "drone", "", "", "https://tier1.test:8443")
    context = Context(facility, facility.nodes["head"], Trust("", {"tier1": site}, elements or {}), "wheel")
    found = PART.role("credmon").configure(context)
    files = {resource.path: resource for resource in found if isinstance(resource, File)}
    return files, [resource for resource in found if isinstance(resource, Directory)]


def test_credmon_follows_the_access_point_and_asks_only_our_issuer() -> None:
    assert PART.role("credmon").with_role == "batch.access"
    files, folders = configure()
    config = files["/etc/condor/config.d/50-farmlet-credmon.config"].data.decode()
    assert f"CREDMON_OAUTH = {PROGRAM}\n" in config
    arguments = next(line for line in config.splitlines() if line.startswith("CREDMON_OAUTH_ARGS"))
    assert arguments.count("--issuer") == 1 and "--issuer https://service.af.test" in arguments
    assert arguments.endswith("--audience https://head.af.test:8443 --audience https://tier1.test:8443")
    assert f"SEC_CREDENTIAL_STORER = {STORER}\n" in config and "SEC_CREDENTIAL_SWEEP_DELAY = 2592000\n" in config
    assert files[PROGRAM].mode == files[STORER].mode == 0o755
    folder = next(directory for directory in folders if directory.path == FOLDER)
    assert (folder.mode, folder.owner, folder.group) == (0o2770, "root", "condor")
    assert json.loads(files["/etc/farmlet/credential.json"].data)["client"] == "batch"


def test_sessions_and_workflows_want_the_unit_that_has_their_token() -> None:
    files, _ = configure()
    assert "StopWhenUnneeded=yes" in files["/etc/systemd/system/session-token@.service"].data.decode()
    wanted = SESSION_UNIT.format(uid="%i")
    assert f"Wants={wanted}\nAfter={wanted}\n" in files["/etc/systemd/system/user@.service.d/farmlet-token.conf"].data.decode()
    # a workflow's scope is the guard's
    assert adoption.SESSION_UNIT == SESSION_UNIT == "session-token@{uid}.service"


@pytest.mark.parametrize("scopes", (True, False))
def test_groups_are_in_the_tokens_where_an_element_goes_by_them(scopes: bool) -> None:
    files, _ = configure(elements={"se": ElementAccess("se", "https://se.test/lab", "https://se.test", scopes)})
    asked = json.loads(files["/etc/farmlet/credential.json"].data)["scope"].split()
    assert ("wlcg.groups" in asked) is not scopes and "storage.modify:/" in asked
    assert "--audience https://se.test\n" in files["/etc/condor/config.d/50-farmlet-credmon.config"].data.decode()


def test_further_issuers_and_an_external_one() -> None:
    external = "identity: {issuer: https://iam.example/}\ntokens: {client: ours, issuers: [https://other.example]}\n"
    files, _ = configure(external)
    config = files["/etc/condor/config.d/50-farmlet-credmon.config"].data.decode()
    assert "--issuer https://iam.example/ --issuer https://other.example\n" in config and "--audience" not in config
    found = json.loads(files["/etc/farmlet/credential.json"].data)
    mine = {"service": "farmlet", "issuer": "https://iam.example/", "client": "ours", "scope": "wlcg wlcg.groups"}
    assert found == mine | {"places": "/run/farmlet-tokens"}


@pytest.mark.parametrize("end", [" ", "\t", "\n", "\r", "\v", "\0", "\u2028", "ä", *"\"'`\\$(){}[]<>|&;,#?%*!^"])
def test_issuers_mean_nothing_else_in_a_command_line(end: str) -> None:
    for text in (f"https://other.example{end}", f"https://other.example/{end}x"):
        with pytest.raises(FarmletError, match="is not the https URL"):
            configure(f"tokens: {{issuers: [{json.dumps(text)}]}}\n")


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "x", "-1", "80:80"])
def test_issuers_have_ports_that_are_some(port: str) -> None:
    with pytest.raises(FarmletError, match="its port is not a number"):
        configure(f"tokens: {{issuers: ['https://other.example:{port}/x']}}\n")


@pytest.mark.parametrize(
    "text", ["http://x.example", "https://", "https:///x", "https://:443", "https://me:pw@x.example", "https://-x"]
)
def test_issuers_are_https_urls(text: str) -> None:
    with pytest.raises(FarmletError, match="is not the https URL"):
        configure(f"tokens: {{issuers: ['{text}']}}\n")
    configure("tokens: {issuers: ['https://x.example:8443/realms/a~b_c.d+e=f-g/', 'https://192.0.2.1']}\n")


def read_lists(urls: Sequence[str]) -> tuple[str, set[str]]:
    """Of a facility with elements at `urls`: the audiences that the monitor asks for, and those of its client at the issuer."""
    elements = "".join(f"    - {{name: se{number}, kind: dcache, url: {url}}}\n" for number, url in enumerate(urls))
    facility = loads(TEXT + (f"storage:\n  elements:\n{elements}" if urls else ""), "facility.yaml", CATALOG)
    context = Context(facility, facility.nodes["head"], Trust("", {}, find_elements(facility)), "wheel")
    resources = IDENTITY.role("provider").configure(context)
    command = next(one for one in resources if isinstance(one, Command) and one.name == "client batch").run
    words = {"monitor": find_arguments(context), "client": shlex.split(command)}
    found = {name: [b for a, b in pairwise(said) if a == "--audience"] for name, said in words.items()}
    return " ".join(found["monitor"]), set(found["client"])


@pytest.mark.parametrize("head_first", [True, False])
@pytest.mark.parametrize("more", [True, False])
def test_while_elements_of_the_facility_file_change_nobody_loses_a_credential(
    tmp_path: Path, issuer: Issuer, head_first: bool, more: bool
) -> None:
    """`up` writes to head and to the issuer at different moments; the monitor begins anew when its own list changes."""
    lists = [read_lists(urls) for urls in (["https://a.test"], ["https://a.test", "https://b.test"])]
    before, after = lists if more else reversed(lists)
    top = store(tmp_path, issuer.url, "alice.0")
    issuer.targets = before[1]
    watch(tmp_path, issuer, before[0]).sweep()
    token = top.with_suffix(".use").read_bytes()
    for wanted, known in (((after[0], before[1]) if head_first else (before[0], after[1])), (after[0], after[1])):
        issuer.targets = known
        os.utime(top.with_suffix(".use"), (0, 0))
        watch(tmp_path, issuer, wanted).sweep()
        # whoever asks for what is not there yet, or no more, waits with the token they have
        assert top.exists() and not top.with_suffix(".refused").exists()
        assert (top.with_suffix(".use").read_bytes() != token) == known.issuperset(wanted.split())
    assert issuer.wanted == after[0].split()


def test_after_an_emergency_rotation_every_token_of_a_job_is_due_and_none_is_missing(tmp_path: Path) -> None:
    top = tmp_path / "ada" / "af.top"
    top.parent.mkdir()
    top.write_text("{}")
    use = top.with_suffix(".use")
    use.write_text("old")
    renewer = Renewer(top, Source(top), Issuers(()))
    renewer._lifetime = 3600
    assert renewer.due() > time.time()
    subprocess.run(["sh", "-c", PART.role("credmon").forget.replace(FOLDER, str(tmp_path))], check=True)
    assert renewer.due() <= time.time() and use.read_text() == "old"
