"""What part identity wants on the control node, and what its section refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from farmlet.errors import FarmletError
from farmlet.parts.identity.checks import check_keys
from farmlet.parts.identity.config import Section
from farmlet.parts.identity.deploy import PART
from farmlet.parts.identity.service.configuration import parse
from farmlet.parts.part import Context
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
    assert [line.partition(".json ")[2] for line in starts] == ["keys turn", "member expire", "prune"]
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


def test_keys_that_are_not_turned_fail_their_check(tmp_path: Path) -> None:
    now = int(time.time())
    with pytest.raises(Failed, match="no signing key"):
        check_keys(str(tmp_path))
    for made, algorithm in ((now - 200 * 86400, "ES256"), (now - 5 * 86400, "ES256"), (now - 90 * 86400, "RS256")):
        (tmp_path / f"{made:012d}-{algorithm}.pem").touch()
    assert check_keys(str(tmp_path)) == "ES256 made 5 days ago, RS256 made 90 days ago"
    (tmp_path / f"{now - 90 * 86400:012d}-RS256.pem").rename(tmp_path / f"{now - 98 * 86400:012d}-RS256.pem")
    with pytest.raises(Failed, match="not turned"):
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
