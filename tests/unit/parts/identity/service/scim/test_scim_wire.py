from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidValueException

from farmlet.parts.identity.service.scim import models, wire

TEXTS = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(has_null(key) or has_null(each) for key, each in value.items())
    if isinstance(value, list):
        return any(map(has_null, value))
    return isinstance(value, str) and "\0" in value


@given(TEXTS)
def test_null_characters_are_refused_wherever_they_are(value: object) -> None:
    try:
        wire.refuse_null(value)
    except InvalidValueException:
        assert has_null(value)
    else:
        assert not has_null(value)


@pytest.mark.parametrize("text", [r"\u0000", r"\\u0000", "\\", "u0000"])
def test_what_only_looks_like_a_null_character_passes(text: str) -> None:
    wire.refuse_null({"title": text})


def test_an_id_has_one_spelling() -> None:
    made = uuid.uuid4()
    assert wire.parse_id(str(made)) == made
    for text in (str(made).upper(), made.hex, f"{{{made}}}", f"urn:uuid:{made}", "", None, 5):
        assert text == str(made) or wire.parse_id(text) is None


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, 5, timezone(timedelta(hours=2)))
    assert wire.show_time(moment) == "2026-11-22T10:00:00.000005Z"
    assert wire.show_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"


def test_what_was_stored_by_an_older_rule_costs_that_attribute_alone() -> None:
    member: dict[str, Any] = {
        "schemas": [models.USER, models.OUR_USER],
        "id": "7",
        "userName": "ada",
        "displayName": "Ada",
        "active": True,
    }
    member[models.OUR_USER] = {"name": "ada", "uidNumber": 20000}
    for odd in ({"emails": [{"value": "ada@b"}]}, {"photos": [{"value": "no"}], "locale": 7}, {"name": "x", "emails": "x"}):
        found = wire.load(models.FullUser, member | odd)
        assert found.display_name == "Ada" and found.emails is None and found[models.FarmletUser].uid_number == 20000
