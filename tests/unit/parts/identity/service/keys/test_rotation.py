"""The life of signing keys, with a clock of our own: which one signs, which are published, when they go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from farmlet.errors import FarmletError
from farmlet.parts.identity.service.keys import keys
from farmlet.parts.identity.service.keys.keys import PUBLISHED_FIRST, Ring, ensure_keys, find_signing, scan
from farmlet.parts.identity.service.keys.rotation import LEEWAY, ROTATE_AFTER, describe, replace, rotate
from farmlet.runtime.tokens import ALGORITHMS

LIFE = 3600  # of an access token
DAY = 86400


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA key takes a second to make."""
    made = RSAKey.generate_key(2048)
    monkeypatch.setattr(keys.RSAKey, "generate_key", lambda size: made)


def names(folder: Path) -> list[str]:
    return [slot.path.name for slot in scan(folder) if slot.algorithm == "ES256"]


def signing(folder: Path, now: float) -> str:
    found = find_signing(scan(folder), "ES256", now)
    assert found is not None
    return found.path.name


def test_both_kinds_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert {slot.algorithm for slot in ensure_keys(folder)} == set(ALGORITHMS)
    assert ensure_keys(folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_calm_turn_step_by_step(tmp_path: Path) -> None:
    rotate(tmp_path, LIFE, now=1000)
    (old,) = names(tmp_path)
    assert signing(tmp_path, 1000) == old, "the first one need not wait"
    rotate(tmp_path, LIFE, now=1000 + ROTATE_AFTER - 1)
    assert names(tmp_path) == [old]
    start = 1000 + ROTATE_AFTER
    rotate(tmp_path, LIFE, now=start)
    _, young = names(tmp_path)
    rotate(tmp_path, LIFE, begin=True, now=start + 10)
    assert names(tmp_path) == [old, young], "one that waits already is enough"
    assert signing(tmp_path, start + PUBLISHED_FIRST - 1) == old
    assert signing(tmp_path, start + PUBLISHED_FIRST) == young
    end = start + PUBLISHED_FIRST + LIFE + LEEWAY
    rotate(tmp_path, LIFE, now=end)
    assert names(tmp_path) == [old, young], "its last token may live"
    rotate(tmp_path, LIFE, now=end + 1)
    assert names(tmp_path) == [young]


def test_where_an_element_keeps_keys_for_hours_a_new_one_waits_for_hours(tmp_path: Path) -> None:
    ahead = 7 * 3600
    rotate(tmp_path, LIFE, now=1000, ahead=ahead)
    start = 1000 + ROTATE_AFTER
    rotate(tmp_path, LIFE, now=start, ahead=ahead)
    old, young = names(tmp_path)

    def signs(now: float) -> str:
        found = find_signing(scan(tmp_path), "ES256", now, ahead)
        return found.path.name if found else ""

    assert (signs(start + ahead - 1), signs(start + ahead)) == (old, young)
    rotate(tmp_path, LIFE, now=start + ahead + LIFE + LEEWAY, ahead=ahead)
    assert names(tmp_path) == [old, young], "its last token may live"
    shown = [item for item in describe(Ring(tmp_path, "ES256", ahead), LIFE, start + 3601) if item["algorithm"] == "ES256"]
    assert [item["state"] for item in shown] == ["signs", "next"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 40 * DAY), st.booleans()), min_size=1, max_size=25))
def test_no_live_token_is_ever_refused(steps: list[tuple[int, bool]]) -> None:
    """Whenever and however often rotations come: a key signs only after an hour, and stays until its last token has ended."""
    with TemporaryDirectory() as name:
        folder, now = Path(name), 0
        rotate(folder, LIFE, now=now)
        first, signed = signing(folder, now), []
        for wait, begin in steps:
            signed += [(signing(folder, now + step), now + step) for step in (0, min(wait, PUBLISHED_FIRST) - 1, wait - 1)]
            now += wait
            rotate(folder, LIFE, begin=begin, now=now)
            assert {key for key, moment in signed if moment + LIFE > now} <= set(names(folder))
            current = signing(folder, now)
            assert current == first or int(current.partition("-")[0]) + PUBLISHED_FIRST <= now
            assert len(names(folder)) <= 3


def test_in_an_emergency_only_new_keys_are_left_and_sign(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    rotate(tmp_path, LIFE, begin=True)
    before = set(names(tmp_path))
    replace(tmp_path)
    (only,) = names(tmp_path)
    assert only not in before and signing(tmp_path, time.time()) == only
    replace(tmp_path)
    assert names(tmp_path) not in ([only], []), "again within the same second is again another key"


def test_a_ring_follows_its_folder_and_either_algorithm(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    ring = Ring(tmp_path, "ES256")
    old = ring.signing()
    assert ring.signing("RS256").key_type == "RSA" and old.key_type == "EC"
    assert Ring(tmp_path, "RS256").verifying().get_by_kid(str(old.kid)).kid == old.kid, "the other kind still verifies"
    replace(tmp_path)
    assert ring.signing().kid != old.kid
    assert {key["kid"] for key in ring.published()["keys"]} == {key.kid for key in ring.verifying()}
    assert str(old.kid) not in {key.kid for key in ring.verifying()}
    assert [item["state"] for item in describe(ring, LIFE)] == ["signs", "signs"]


def test_a_ring_sees_what_changes_within_one_tick_of_the_clock(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    ring = Ring(tmp_path, "ES256")
    ring.held()
    stamp = tmp_path.stat()
    replace(tmp_path)
    os.utime(tmp_path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert len(ring.published()["keys"]) == 2 and {slot.path.exists() for slot in ring.held()} == {True}


def test_what_is_no_key_of_ours_is_told(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "ES256")
    with pytest.raises(FarmletError, match="no ES256 key"):
        ring.signing()
    (tmp_path / "backup.pem").write_text("")
    with pytest.raises(FarmletError, match=r"backup\.pem"):
        scan(tmp_path)
