"""Rotating the issuer's keys under a running service: calmly no live token is refused, in an emergency every old one."""

from __future__ import annotations

import json

import pytest
from issuer import Service, decode, write_config

from farmlet.parts.identity.service.keys import rotation
from farmlet.parts.identity.service.keys.keys import PUBLISHED_FIRST, Ring, Slot, scan
from farmlet.parts.identity.service.keys.rotation import replace
from farmlet.runtime import audit, tokens
from farmlet.runtime.tokens import Refused, Verifier

pytestmark = pytest.mark.service
ANY = "https://wlcg.cern.ch/jwt/v1/any"


class Member:
    """Somebody whose program comes back for new tokens."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.refresh = service.connect(service.join("kim")[0])["refresh_token"]

    def token(self) -> str:
        answer = self.service.refresh(self.refresh)
        assert answer.status == 200, answer
        self.refresh = answer.body["refresh_token"]
        token: str = answer.body["access_token"]
        return token


@pytest.fixture(scope="module")
def kim(service: Service) -> Member:
    return Member(service)


@pytest.fixture(autouse=True)
def fresh(service: Service) -> None:
    """Each test starts with one key of each kind."""
    replace(service.folder / "keys")


def rotate(service: Service, begin: bool = False) -> None:
    """As the command does, without its second to start."""
    rotation.rotate(service.folder / "keys", 600, begin=begin)


def kid(token: str) -> str:
    found: str = decode(token.split(".")[0])["kid"]
    return found


def age(service: Service, seconds: float) -> None:
    """Let time pass for all keys: their names are their clock."""
    for slot in scan(service.folder / "keys"):
        older = Slot(slot.path, slot.made - int(seconds), slot.algorithm)
        slot.path.rename(slot.path.with_name(f"{older.made:012d}-{older.algorithm}.pem"))


def published(service: Service) -> set[str]:
    return {key["kid"] for key in service.request("/jwks").body["keys"]}


def states(service: Service) -> dict[str, str]:
    listed = rotation.describe(Ring(service.folder / "keys", "ES256"), 600)
    return {key["kid"]: key["state"] for key in listed if key["algorithm"] == "ES256"}


def test_both_kinds_are_published(service: Service) -> None:
    answer = service.request("/jwks").body["keys"]
    assert sorted(key["alg"] for key in answer) == ["ES256", "RS256"]
    assert not any(private in key for key in answer for private in ("d", "p", "q"))


def test_after_an_emergency_nothing_the_old_key_signed_is_taken(
    service: Service, kim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = kim.token()
    verifier = Verifier(service.issuer, ANY, service.cafile)
    assert verifier.verify(old).username == "kim"
    assert service.request("/userinfo", bearer=old).status == 200
    shown = json.loads(service.do("keys", "rotate", "--now", "--by=carol", "--json"))
    assert {key["state"] for key in shown} == {"signs"} and kid(old) not in {key["kid"] for key in shown}
    assert service.request("/userinfo", bearer=old).status == 401
    assert kid(old) not in published(service)
    assert verifier.verify(old), "this one may still use the keys it has, for a minute"
    monkeypatch.setattr(tokens, "FRESH", 0.0)
    with pytest.raises(Refused):
        verifier.verify(old)
    # the member's programs go on: refresh tokens were not signed by anything
    again = kim.token()
    assert verifier.verify(again).username == "kim" and service.request("/userinfo", bearer=again).status == 200
    line = [line for line in audit.read(service.folder / "db" / "audit.log") if line["event"] == "keys.replaced"][-1]
    assert line["by"] == "carol" and kid(old) in line["gone"] and {key["kid"] for key in shown} == set(line["made"])


def test_new_tokens_are_known_to_who_keeps_keys(service: Service, kim: Member) -> None:
    verifier = Verifier(service.issuer, ANY, service.cafile)
    verifier.verify(kim.token())
    replace(service.folder / "keys")
    verifier._fetched -= 6  # an unknown key is looked up at most every 5 s
    verifier._tried -= 6
    assert verifier.verify(kim.token()).username == "kim"


def test_a_calm_turn_never_refuses_a_live_token(service: Service, kim: Member) -> None:
    verifier = Verifier(service.issuer, ANY, service.cafile)
    first = kim.token()
    service.do("keys", "rotate", "--next")
    assert sorted(states(service).values()) == ["next", "signs"]
    assert kid(kim.token()) == kid(first), "the new key waits until everybody can know it"
    assert len(published(service)) == 4
    rotate(service, begin=True)
    assert len(published(service)) == 4, "one that waits is enough"
    verifier.verify(first)  # it has both keys now and asks for none for a minute
    age(service, PUBLISHED_FIRST + 5)  # keys made within one second count as made one after the other
    second = kim.token()
    service.do("keys", "rotate")
    assert kid(second) != kid(first)
    for one in (first, second):
        assert verifier.verify(one) and service.request("/userinfo", bearer=one).status == 200
    assert states(service) == {kid(first): "old", kid(second): "signs"}
    assert service.request("/userinfo", bearer=first).status == 200
    age(service, 600 + 62)  # the life of a token, and what clocks may differ
    rotate(service)
    assert states(service) == {kid(second): "signs"}
    assert service.request("/userinfo", bearer=first).status == 401


def test_the_timer_makes_a_next_key_when_one_is_old(service: Service, kim: Member) -> None:
    rotate(service)
    assert list(states(service).values()) == ["signs"]
    age(service, 90 * 86400)
    shown = json.loads(service.do("keys", "rotate", "--json"))
    assert [key["state"] for key in shown] == ["signs", "signs", "next", "next"]
    assert service.do("keys", "list").count("next") == 2
    line = [line for line in audit.read(service.folder / "db" / "audit.log") if line["event"] == "keys.rotated"][-1]
    assert len(line["made"]) == 2 and line["gone"] == []


def test_the_other_algorithm_goes_on_verifying(service: Service, kim: Member) -> None:
    elliptic = kim.token()
    write_config(service, algorithm="RS256")
    try:
        rsa = service.do("token", "--as=kim", "--scope=openid", "--reason=test", "--by=carol").strip()
        rotate(service)
    finally:
        write_config(service)
    assert decode(rsa.split(".")[0])["alg"] == "RS256"
    verifier = Verifier(service.issuer, ANY, service.cafile)
    for one in (elliptic, rsa, kim.token()):
        assert verifier.verify(one) and service.request("/userinfo", bearer=one).status == 200


def test_a_turn_of_both_ways_is_refused(service: Service) -> None:
    assert service.run("keys", "rotate", "--now", "--next").returncode == 2
