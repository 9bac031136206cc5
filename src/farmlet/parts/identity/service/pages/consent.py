"""What a program asks for, in words: the page on which a member allows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from farmlet.facility.places import ANY, SSH
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.tokens.audiences import is_element, opens_login

MEANINGS = {
    "openid": "know who you are",
    "profile": "know your name",
    "email": "know your e-mail address",
    "offline_access": "stay connected without asking again, until you or it end this",
    "wlcg": "use the conventions of the WLCG for tokens",
    "wlcg.groups": "know your groups",
    "storage.read": "read files",
    "storage.create": "add new files",
    "storage.modify": "change and delete files",
    "storage.stage": "bring files back from tape",
    "compute.read": "see jobs",
    "compute.create": "submit jobs",
    "compute.modify": "change jobs",
    "compute.cancel": "cancel jobs",
}


def describe(client: Client, scopes: Sequence[str], asked: Collection[str], audience: Sequence[str]) -> dict[str, Any]:
    """What the page tells: `scopes` with their meanings, `logins` in words, what of `asked` is withheld, and where all this may
    be used: with `anybody`, and by name in `places` where that does not say it already.
    """
    anybody = ANY in audience
    logins = [name for name in audience if opens_login([name])]
    places = [name for name in audience if name not in (ANY, *logins) and not (anybody and is_element(name))]
    return {
        "client": client,
        "scopes": [(scope, explain(scope)) for scope in scopes],
        "withheld": sorted(set(asked) - set(scopes)),
        "logins": [explain_login(name) for name in logins],
        "anybody": anybody,
        "places": places,
    }


def explain(scope: str) -> str:
    """What a scope means to a person."""
    verb, _, rest = scope.partition(":")
    meaning = MEANINGS.get(verb, "")
    if not rest or not meaning:
        return meaning
    return f"{meaning} in {rest}" if verb.startswith("storage.") else f"{meaning}: {rest}"


def explain_login(audience: str) -> str:
    """What an audience that opens a log-in means to a person."""
    host = audience.removeprefix(f"{SSH}_")
    usual = "log in by SSH as you" if host == audience else f"log in by SSH as you at {host}"
    return provider().configuration.logins.get(audience, usual)
