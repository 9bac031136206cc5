"""What part identity wants on the control node, and what its section refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from farmlet.errors import FarmletError
from farmlet.facility.places import ANY
from farmlet.parts.identity.checks import check_keys
from farmlet.parts.identity.config import Section
from farmlet.parts.identity.deploy import PART
from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.part import Context, ElementAccess, SiteAccess
from farmlet.parts.resources import Command, File, Random, Unit
from farmlet.runtime.checks import Failed

MakeContext = Callable[..., Context]


def test_the_service_accepts_the_configuration_written_for_it(make_context: MakeContext) -> None:
    context = make_context("service", "identity: {first_uid: 25000}\n")
    resources = PART.role("provider").configure(context)
    text = next(str(item.content) for item in resources if isinstance(item, File) and item.path.endswith("identity.json"))
    found = parse(json.loads(text), "identity.json")
    assert found.issuer == "https://service.farmlet.test"
    assert found.uid_base == 25000
    assert found.rights == context.facility.rights
    assert list(found.rights.groups) == ["lab", "lab/production", "guests"]
    assert found.secret_key_file in {Path(item.path) for item in resources if isinstance(item, Random)}


def test_every_step_runs_as_the_services_own_user(make_context: MakeContext) -> None:
    steps = [item for item in PART.role("provider").configure(make_context("service")) if isinstance(item, Command)]
    assert {step.user for step in steps} == {"farmlet-identity"}
    assert [step.name.split()[-1] for step in steps][:1] == ["database"]


def test_a_timer_turns_the_keys_and_deletes_what_has_ended(make_context: MakeContext) -> None:
    resources = PART.role("provider").configure(make_context("service"))
    files = {item.path: str(item.content) for item in resources if isinstance(item, File)}
    service = files["/etc/systemd/system/farmlet-identity-upkeep.service"]
    starts = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    assert [line.partition(".json ")[2] for line in starts] == ["keys rotate", "member expire", "prune"]
    assert "Type=oneshot" in service and "User=farmlet-identity" in service and "[Install]" not in service
    assert "OnCalendar=hourly" in files["/etc/systemd/system/farmlet-identity-upkeep.timer"]
    assert Unit("farmlet-identity-upkeep.timer") in resources


def test_registration_may_be_closed(make_context: MakeContext) -> None:
    for more, expected in (("", "open"), ("identity: {registration: closed}\n", "closed")):
        resources = PART.role("provider").configure(make_context("service", more))
        text = next(str(item.content) for item in resources if isinstance(item, File) and item.path.endswith("identity.json"))
        assert parse(json.loads(text), "identity.json").registration == expected
    with pytest.raises(FarmletError, match="registration"):
        make_context("service", "identity: {registration: maybe}\n")


@pytest.mark.parametrize(("kept", "hours"), [([], 1), ([600], 1), ([600, 6 * 3600], 7)])
def test_new_keys_are_published_until_the_slowest_element_knows_them(
    make_context: MakeContext, kept: list[int], hours: int
) -> None:
    context = make_context("service")
    far = {str(one): ElementAccess(str(one), f"https://{one}", f"https://{one}", True, keeps_keys=one) for one in kept}
    context = replace(context, trust=replace(context.trust, elements=far))
    resources = PART.role("provider").configure(context)
    text = next(str(item.content) for item in resources if isinstance(item, File) and item.path.endswith("identity.json"))
    assert parse(json.loads(text), "identity.json").lifetimes.published == hours * 3600


def find_audiences(context: Context) -> dict[str, list[str]]:
    """Client → whom its tokens may be for."""
    steps = [item for item in PART.role("provider").configure(context) if isinstance(item, Command)]
    words = {step.name.split()[-1]: step.run.split() for step in steps if step.name.startswith("client ")}
    return {name: [b for a, b in pairwise(said) if a == "--audience"] for name, said in words.items()}


def test_what_opens_a_log_in_is_named_for_the_programs_of_peoples_own_machines_alone(make_context: MakeContext) -> None:
    found = find_audiences(make_context("service"))
    assert sorted(found["farmlet"]) == [ANY, "ssh", "ssh_head.farmlet.test"]
    assert found["mccli"] == ["ssh_head.farmlet.test"]
    assert all(found.values()), "without any, a client may ask for all that opens no log-in"
    assert not any(name.startswith("ssh") for client in found.keys() - {"farmlet", "mccli"} for name in found[client])
    off = find_audiences(make_context("service", "access: {motley: false}\n"))
    assert off["farmlet"] == [ANY, "ssh"] and "mccli" not in off


def test_the_service_knows_what_opens_a_log_in_and_what_is_storage(make_context: MakeContext) -> None:
    for more, expected in (("", False), ("identity: {registered_logins: true}\n", True)):
        context = make_context("service", more)
        there = SiteAccess("tier1", "tier1.test", "drone", "key", "ca", storage="https://tier1.test:8443")
        context = replace(context, trust=replace(context.trust, sites={"tier1": there}))
        resources = PART.role("provider").configure(context)
        text = next(str(item.content) for item in resources if isinstance(item, File) and item.path.endswith("identity.json"))
        found = parse(json.loads(text), "identity.json")
        assert found.registered_logins is expected and found.elements == ("https://tier1.test:8443",)
        words = {"ssh": "log in by SSH as you", "ssh_head.farmlet.test": "log in by SSH as you at head.farmlet.test"}
        assert found.logins == words


def test_keys_that_are_not_turned_fail_their_check(tmp_path: Path) -> None:
    now = int(time.time())
    with pytest.raises(Failed, match="no signing key"):
        check_keys(str(tmp_path))
    for made, algorithm in ((now - 200 * 86400, "ES256"), (now - 5 * 86400, "ES256"), (now - 90 * 86400, "RS256")):
        (tmp_path / f"{made:012d}-{algorithm}.pem").touch()
    assert check_keys(str(tmp_path)) == "ES256 made 5 days ago, RS256 made 90 days ago"
    (tmp_path / f"{now - 90 * 86400:012d}-RS256.pem").rename(tmp_path / f"{now - 98 * 86400:012d}-RS256.pem")
    with pytest.raises(Failed, match="not rotated"):
        check_keys(str(tmp_path))


@pytest.mark.parametrize(
    "issuer",
    [
        "http://iam.example.org",
        "buildin",
        "https://",
        "",
        "https://a@iam.example.org/",
        "https://x/?a",
        "https://x/#a",
        'https://x/"',
    ],
)
def test_issuers_that_cannot_be_are_refused_in_words(issuer: str, make_context: MakeContext) -> None:
    with pytest.raises(ValidationError):
        Section(issuer=issuer)
    with pytest.raises(FarmletError, match="builtin"):
        make_context("service", f"identity: {{issuer: '{issuer}'}}\n")


@pytest.mark.parametrize("more", ["client: farmlet", "group_prefix: vo"])
def test_settings_of_an_external_issuer_are_refused_with_our_own(more: str, make_context: MakeContext) -> None:
    with pytest.raises(FarmletError, match="only with the URL of an INDIGO IAM"):
        make_context("service", f"identity: {{{more}}}\n")


def test_a_prefix_is_a_group_of_the_issuer() -> None:
    assert Section(issuer="https://iam.example.org/", group_prefix="/VO.x/af/").group_prefix == "VO.x/af"
    for wrong in ("a//b", "a b", "a/../b", "-a", "x" * 31):
        with pytest.raises(ValidationError):
            Section(issuer="https://iam.example.org/", group_prefix=wrong)
