"""What must hold of log-in by SSH. Standard library only."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.access.certificates import describe, fingerprint
from farmlet.runtime.checks import TIMEOUT, Failed, run

METADATA = "169.254.169.254"
DAYS = 7  # a host certificate has to live for so many more


def check_banner(host: str) -> str:
    """An SSH server answers at port 22 of `host` with its identification (RFC 4253 §4.2)."""
    try:
        with socket.create_connection((host, 22), timeout=TIMEOUT) as connection:
            connection.settimeout(TIMEOUT)
            banner = connection.recv(255).split(b"\r\n")[0].decode(errors="replace")
    except OSError as error:
        raise Failed(f"{host}:22: {error}") from error
    if not banner.startswith("SSH-2.0-"):
        raise Failed(f"{host}:22 says {banner!r}")
    return f"{host}:22 says {banner}"


def check_settings(wanted: dict[str, str], user: str) -> str:
    """sshd's effective settings for `user` are as we wrote them: an option in another file may come first."""
    text = run("/usr/sbin/sshd", "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1")
    found = {line.split(" ", 1)[0]: line.partition(" ")[2] for line in text.splitlines()}
    wrong = [f"{name} is {found.get(name)}" for name, value in wanted.items() if found.get(name) != value]
    if wrong:
        raise Failed("; ".join(wrong))
    return f"{len(wanted)} settings of sshd are as wanted"


def check_hostcert(certificate: str, key: str) -> str:
    """The host certificate is there, is for this host's key and lives for DAYS more."""
    if not Path(certificate).exists():
        raise Failed(f"{certificate} is missing; the authority has not signed this host yet")
    try:
        found = describe(Path(certificate).read_text())
        own = fingerprint(Path(key).read_text())
    except (FarmletError, OSError) as error:
        raise Failed(str(error)) from error
    if found.key != own:
        raise Failed(f"{certificate} is for another key")
    left = (found.end - datetime.now(UTC)).days
    if left < DAYS:
        raise Failed(f"{certificate} is valid for {left} more days, fewer than {DAYS}")
    return f"{certificate} is valid for {left} more days"


def check_authority(url: str, ca: str) -> str:
    """The authority answers at `url` and signs nothing without a token."""
    context = ssl.create_default_context(cafile=ca)
    request = urllib.request.Request(f"{url}/ssh/sign", data=b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
            raise Failed(f"{url}/ssh/sign answers {answer.status} without a token")
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise Failed(f"{url}/ssh/sign answers {error.code}, not 401") from error
    except OSError as error:
        raise Failed(f"{url}: {getattr(error, 'reason', error)}") from error
    return "the authority answers, and refuses who has no token"


def check_motley(host: str, issuer: str, audience: str, ca: str) -> str:
    """motley-cue answers through the reverse proxy, asks for tokens of `issuer` for `audience`, and lets no other in."""
    query = urllib.parse.urlencode({"url": issuer})
    status, text = _ask(f"https://{host}/info/op?{query}", ca)
    if status != 200 or json.loads(text).get("audience") != audience:
        raise Failed(f"{host} does not ask for the audience {audience}: {status} {text[:200]}")
    status, _ = _ask(f"https://{host}/user/get_status", ca, "none")
    if status not in (401, 403):
        raise Failed(f"{host} answers {status} to an invalid token")
    return f"motley-cue asks for tokens for {audience}, and refuses others"


def _ask(url: str, ca: str, token: str = "") -> tuple[int, str]:
    """Status and body. Raises Failed where nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=ssl.create_default_context(cafile=ca)) as answer:
            return answer.status, answer.read(65536).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError as error:
        raise Failed(f"{url}: {getattr(error, 'reason', error)}") from error


def check_link_local(uid: int) -> str:
    """What members run, whose numbers begin at `uid`, has no way to the address where clouds tell a machine its secrets.

    The kernel is asked for the way, and nothing is sent (ip-rule(8): EACCES of a rule that prohibits).
    """
    words = ("ip", "route", "get", METADATA, "uid", str(uid))
    try:
        said = run(*words)
    except Failed as failed:
        if "Permission denied" in str(failed):
            return f"members have no way to {METADATA}"
        raise
    raise Failed(f"members reach {METADATA}: {said.strip()}")
