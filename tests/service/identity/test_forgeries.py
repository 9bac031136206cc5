"""Tokens that nobody may take: at every place of the service that takes one, and offline by `runtime.tokens`."""

from __future__ import annotations

import urllib.parse
from typing import Any
from uuid import uuid4

import pytest
from browser import Browser
from forge import FORGERIES, Original, take_apart
from issuer import Service, claims
from party import BACK, Party
from scim import start

from farmlet.runtime.tokens import Refused, Verifier

pytestmark = [pytest.mark.service, pytest.mark.once]
ELEMENT, ANY = "https://se.example.org", "https://wlcg.cern.ch/jwt/v1/any"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
PLACES = ("userinfo", "userinfo by POST", "Me", "Users", "INDIGO's Users", "changes", "introspection", "exchange", "offline")


class Places:
    """Who takes tokens; each says whether it took one. A refusal must be one in the protocol's words."""

    def __init__(self, service: Service, member: Original, program: Original) -> None:
        self.service, self.member, self.program = service, member, program
        self.verifier = Verifier(service.issuer, (ELEMENT, ANY), service.cafile)

    def original(self, place: str) -> Original:
        return self.program if place in ("Users", "INDIGO's Users", "changes") else self.member

    def take(self, place: str, token: str) -> bool:
        paths = {"Me": "/scim/v2/Me", "Users": "/scim/v2/Users?count=1", "INDIGO's Users": "/scim/Users?count=1"}
        match place:
            case "introspection":
                answer = self.service.request("/introspect/", {"token": token}, basic=self.service.basic("taker"))
                assert answer.status == 200 and (answer.body["active"] or len(answer.body) == 1), answer
                return bool(answer.body["active"])
            case "exchange":
                form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS}
                answer = self.service.token(form, basic=self.service.basic("taker"))
                assert answer.status == 200 or (answer.status, answer.body["error"]) == (400, "invalid_request"), answer
            case "offline":
                try:
                    return bool(self.verifier.verify(token).sub)
                except Refused:
                    return False
            case _:
                path = paths.get(place) or ("/scim/v2/changes" if place == "changes" else "/userinfo")
                answer = self.service.request(path, {} if "POST" in place else None, bearer=token)
                assert answer.status in (200, 401), answer
        return answer.status == 200


@pytest.fixture(scope="module")
def mona(service: Service) -> Browser:
    return service.join("mona")[0]


@pytest.fixture(scope="module")
def molly(service: Service) -> Browser:
    return service.join("molly")[0]


@pytest.fixture(scope="module")
def places(service: Service, mona: Browser) -> Places:
    service.register("taker", "--grant=exchange,client_credentials", "--scope=openid storage.read:/")
    token = service.connect(mona, scope="openid storage.read:/")["access_token"]
    program = start(service, "forger", "scim:read").token
    return Places(service, take_apart(service, token), take_apart(service, program))


@pytest.mark.parametrize("place", PLACES)
def test_the_true_ones_are_taken(places: Places, place: str) -> None:
    original = places.original(place)
    assert places.take(place, original.true()) and places.take(place, original.claim(aud=[ELEMENT, ANY]))
    # a header that points at other keys is not followed, and harmless where ours signed
    assert places.take(place, original.true(jku="https://evil.example.org/jwks"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries_are_refused(places: Places, place: str, forgery: str) -> None:
    assert not places.take(place, FORGERIES[forgery](places.original(place)))


@pytest.mark.parametrize("aud", ["https://elsewhere.example.org", [], "", [[]], None, {"a": ELEMENT}])
def test_tokens_for_others_are_refused_where_the_audience_counts(places: Places, aud: Any) -> None:
    for place in ("Users", "INDIGO's Users", "changes", "offline"):
        assert not places.take(place, places.original(place).claim(aud=aud)), place


@pytest.mark.parametrize("place", PLACES)
def test_other_things_the_issuer_gave_are_no_access_tokens(service: Service, places: Places, mona: Browser, place: str) -> None:
    connected = service.connect(mona, scope="openid offline_access")
    assert not places.take(place, connected["id_token"])
    assert not places.take(place, connected["refresh_token"])  # at introspection: it is another client's


@pytest.mark.parametrize("place", ["userinfo", "Me", "exchange"])
@pytest.mark.usefixtures("molly")
def test_who_the_member_is_must_fit_together(places: Places, place: str) -> None:
    """A program's token that bears a member's subject, or a member's name, is no member's."""
    member, program = places.member, places.program
    own = {"scope": "openid storage.read:/"}
    assert not places.take(place, program.claim(**own))
    assert not places.take(place, program.claim(**own, sub=member.body["sub"]))
    assert not places.take(place, member.claim(preferred_username="molly"))
    assert not places.take(place, member.claim(preferred_username="nobody-here"))
    assert not places.take(place, member.claim(sub=str(uuid4())))
    assert not places.take(place, member.claim(sub=program.body["sub"], preferred_username=program.body["sub"]))


def test_a_members_token_never_reads_the_membership(places: Places) -> None:
    for place in ("Users", "INDIGO's Users", "changes"):
        token = places.member.claim(scope="openid scim:read", client_id="forger")
        assert not places.take(place, token), place


@pytest.fixture(scope="module")
def hinted(service: Service) -> Party:
    service.do("client", "ensure", "hinted", "--public", "--grant=code", f"--redirect-uri={BACK}")
    return Party(service, "hinted")


@pytest.mark.parametrize(
    "forgery", sorted(FORGERIES.keys() - {"claims nested", "typ of an ID token"})
)  # too long for a URL; as good as one
def test_forged_hints_name_nobody(service: Service, places: Places, mona: Browser, hinted: Party, forgery: str) -> None:
    """An ID token of ours may be a hint of who is meant; an access token, or anything forged, is as good as none."""
    hint = FORGERIES[forgery](places.member)
    page = mona.open(f"{service.issuer}/logout/?{urllib.parse.urlencode({'id_token_hint': hint})}")
    assert page.status == 200 and page.forms  # the member is asked, and still logged in
    assert hinted.ask(mona, prompt="none", id_token_hint=hint)["error"] == "consent_required"


def test_a_member_cannot_be_posed_as_by_a_clients_name(service: Service, places: Places) -> None:
    """`sub` of a program's token is its client's name: it must never be a member's."""
    subject = str(places.member.body["sub"])
    for name in (subject, subject.upper(), "{" + subject + "}"):
        refused = service.run("client", "ensure", name, "--public", "--grant=device")
        assert refused.returncode == 2 and "client" in refused.stderr, name


def test_revoked_and_suspended_at_every_place(service: Service, places: Places) -> None:
    browser, _ = service.join("milan")
    fresh = Places(service, places.member, places.program)
    token = service.connect(browser, scope="openid storage.read:/")["access_token"]
    here = [place for place in PLACES if place != "offline" and places.original(place) is places.member]
    assert all(fresh.take(place, token) for place in here)
    service.do("member", "suspend", "milan")
    assert not any(fresh.take(place, token) for place in here)
    service.do("member", "resume", "milan")
    service.request("/revoke/", {"token": token, "client_id": claims(token)["client_id"]})
    assert not any(fresh.take(place, token) for place in here)
