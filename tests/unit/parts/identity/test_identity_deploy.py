"""What part identity wants on the control node, and what its section refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from farmlet.errors import FarmletError
from farmlet.parts.identity.config import Section
from farmlet.parts.identity.deploy import PART
from farmlet.parts.identity.service.configuration import parse
from farmlet.parts.part import Context
from farmlet.parts.resources import Command, File, Random

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
