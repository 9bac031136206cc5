"""Certificate and tokens out of the refresh token. Every answer is kept before the next question is asked."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import MEMBER
from farmlet.facility.places import SSH
from farmlet.parts.access.login import about, discovery, snippet, state
from farmlet.parts.access.login.places import Place
from farmlet.parts.access.login.state import Span, State
from farmlet.runtime import oauth
from farmlet.runtime.files import rename, sync, write
from farmlet.runtime.issuer.refusals import is_over

CERTIFICATE = re.compile(r"[a-z0-9-]+-cert-v01@openssh\.com [A-Za-z0-9+/=]+")
SKEW = 45.0  # seconds; a certificate is good from a minute before it was made


def renew(place: Place, known: State, due: Sequence[str]) -> State:
    """Fetch what is due; the caller has the lock. Raises FarmletError; a dead refresh token is forgotten first."""
    try:
        for name in due:
            known = _certify(place, known) if name == "certificate" else _fetch_token(place, known)
    except oauth.OAuthError as error:
        if is_over(error, known.issuer):
            state.save(place, state.load(place), refresh_token="")
        raise
    except OSError as error:
        where = str(error.filename or place.folder)
        raise FarmletError(where, f"cannot be written: {error.strerror}", "is the disk full, is the folder yours?") from error
    return known


def _ask(place: Place, known: State, **wish: str) -> tuple[State, oauth.Tokens]:
    """Use the refresh token; its successor is on the disk when this returns."""
    found = oauth.refresh(known.issuer, known.client, known.refresh_token, state.cafile(place), **wish)
    return state.save(place, known, refresh_token=found.refresh_token or known.refresh_token), found


def _fetch_token(place: Place, known: State) -> State:
    known, found = _ask(place, known, scope=known.data)
    write(place.token, f"{found.access_token}\n".encode(), 0o600)
    discovery.publish(place, known)
    now = time.time()
    return state.save(place, known, token=Span(now, now + found.expires_in))


def _certify(place: Place, known: State) -> State:
    cafile = state.cafile(place)
    facility = about.load(known.url, cafile)
    known, found = _ask(place, known, scope="openid", audience=SSH)
    ensure_key(place)
    answer = oauth.send_json(f"{known.url}/ssh/sign", {"public_key": place.public.read_text()}, found.access_token, cafile)
    certificate, user, end = _read(answer, known.url)
    write(place.certificate, f"{certificate}\n".encode(), 0o600)
    snippet.write_snippet(facility, user, place)
    start = end - facility.hours * 3600
    if abs(time.time() - start) > SKEW:
        print(f"this machine's clock is {time.time() - start:+.0f} s off the facility's; log-ins may fail", file=sys.stderr)
    return state.save(place, known, user=user, nodes=facility.nodes, certificate=Span(start, end))


def _read(answer: Mapping[str, Any], url: str) -> tuple[str, str, float]:
    """Certificate, UNIX name and end out of the authority's answer, which ssh will read: nothing else may be in it."""
    certificate, user, end = (answer.get(name) for name in ("certificate", "principal", "expires"))
    sound = isinstance(certificate, str) and isinstance(user, str) and isinstance(end, int)
    if not (sound and CERTIFICATE.fullmatch(str(certificate).strip()) and MEMBER.fullmatch(str(user))):
        raise FarmletError(url, "its answer holds no certificate", "tell the facility's administrators")
    return str(certificate).strip(), str(user), float(str(end))


def ensure_key(place: Place) -> None:
    """A key pair, made by ssh-keygen where there is none. Raises FarmletError."""
    if place.key.exists() and place.public.exists():
        return
    for path in (place.certificate, place.public, place.key):
        path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=place.folder, prefix=".key-") as folder:
        made = Path(folder) / "key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"farmlet {place.name}", "-f", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise FarmletError("ssh-keygen", "is not installed", "install OpenSSH's client (Debian: openssh-client)") from error
        if done.returncode:
            raise FarmletError("ssh-keygen", done.stderr.strip() or f"ended with {done.returncode}")
        for half, kept in ((made, place.key), (made.with_name("key.pub"), place.public)):
            sync(half)
            rename(half, kept)
