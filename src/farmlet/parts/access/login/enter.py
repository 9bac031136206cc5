"""The log-in itself, by a person: the device flow (RFC 8628), then the first certificate and token."""

from __future__ import annotations

import contextlib
import ssl
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.facility.names import FACILITY
from farmlet.facility.places import ANY, SSH
from farmlet.parts.access.login import about, discovery, places, renew, state, words
from farmlet.parts.access.login.places import Place
from farmlet.parts.access.login.state import State
from farmlet.runtime import oauth
from farmlet.runtime.files import write
from farmlet.runtime.issuer import screen


@dataclass(frozen=True)
class Wish:
    """What the person asked for: `url` of the facility, the authority's file, a name of their own for it ("": its own)."""

    url: str
    cafile: str | None = None
    name: str = ""
    qr: bool = True


def normalise(text: str) -> str:
    """The URL of a facility without path, `https://host[:port]`. Raises InputError."""
    parts = urllib.parse.urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query:
        raise InputError(text, "is not the address of a facility", "e.g. farmlet login https://service.farmlet.test")
    return f"{parts.scheme}://{parts.netloc}"


def log_in(wish: Wish) -> tuple[Place, State]:
    """Everything from the address to a certificate. Raises FarmletError."""
    _check_authorities(wish.cafile)
    again = f"farmlet login {wish.url}"
    try:
        facility = about.load(wish.url, wish.cafile)
        place = _place(wish, facility.name)
        print(f"{facility.title or facility.name}: {wish.url}", file=sys.stderr)
        tokens = _authorise(facility, wish)
        with state.locked(place):
            known = _begin(place, wish, facility, tokens)
            known = renew.renew(place, known, tuple(known.spans))
            discovery.publish(place, known, force=True)
    except FarmletError as error:
        raise words.explain(error, again, _find(wish)) from error
    return place, known


def _find(wish: Wish) -> State | None:
    """The log-in to the same facility that is there already."""
    with contextlib.suppress(FarmletError):  # what is broken here is told by whatever needs it
        return next((known for place in places.find().values() if (known := state.load(place)).url == wish.url), None)
    return None


def _check_authorities(path: str | None) -> None:
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        what = getattr(error, "strerror", None) or "is no certificate in PEM"
        raise InputError(path, f"cannot be used as --ca: {what}", "the facility's administrators have that file") from error


def _place(wish: Wish, name: str) -> Place:
    """Where this facility is kept: under its own name, if no other one of that name is here."""
    name = wish.name or name
    if not FACILITY.fullmatch(name):
        raise InputError(name, "cannot be a facility's name", "a-z, 0-9 and -, the first a letter")
    place = Place(places.root() / name)
    if place.state.exists() and (other := state.load(place).url) != wish.url:
        raise InputError(name, f"names another facility here: {other}", f"--name OTHER, or first: farmlet logout {name}")
    state.create(place)
    return place


def _authorise(facility: about.About, wish: Wish) -> oauth.Tokens:
    flow = oauth.DeviceFlow(facility.issuer, facility.client, wish.cafile)
    started = flow.start(f"{about.BASE} {facility.scope}".strip(), f"{SSH} {ANY}")
    screen.show(started, wish.qr)
    try:
        return flow.wait(started, screen.countdown(started))
    finally:
        screen.clear()


def _begin(place: Place, wish: Wish, facility: about.About, tokens: oauth.Tokens) -> State:
    """Keep the new log-in, and end the one before it."""
    if not tokens.refresh_token:
        raise FarmletError(facility.issuer, "gave no refresh token, so nothing could be renewed", "tell the administrators")
    before = state.load(place) if place.state.exists() else None
    try:
        if wish.cafile:
            write(place.authorities, Path(wish.cafile).read_bytes(), 0o600)
        elif before:
            place.authorities.unlink(missing_ok=True)
        granted = (tokens.scope or facility.scope).split()
        data = " ".join(scope for scope in granted if scope not in about.BASE.split())
        known = State(wish.url, facility.title, facility.issuer, facility.client, data, bearer=str(discovery.bearer()))
        known = state.save(place, known, refresh_token=tokens.refresh_token)
    except OSError as error:
        raise FarmletError(str(place.folder), f"cannot be written: {error.strerror}", "is the disk full, is it yours?") from error
    if before and before.refresh_token:
        with contextlib.suppress(FarmletError):  # it ends by itself
            oauth.revoke(before.issuer, before.client, before.refresh_token, wish.cafile)
    return known
