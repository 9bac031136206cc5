"""What a facility's own store answers, and its web services to who has no session."""

from __future__ import annotations

import json
import shlex
import ssl
import urllib.error
import urllib.request
from typing import Any

from sandbox import Sandbox

from farmlet.parts.monitoring.store import SOCKET


def ask(sandbox: Sandbox, query: str) -> list[dict[str, Any]]:
    words = f"curl -sSf --unix-socket {SOCKET} http://store/api/v1/query --data-urlencode {shlex.quote(f'query={query}')}"
    found: list[dict[str, Any]] = json.loads(sandbox.exec("service", words))["data"]["result"]
    return found


def find_alarms(sandbox: Sandbox, window: str) -> list[dict[str, str]]:
    """What fired within that, but for what tests break on purpose."""
    query = f'max_over_time(ALERTS{{alertstate="firing",severity!="none",name!="farmlet-probe.service"}}[{window}])'
    return [row["metric"] for row in ask(sandbox, query)]


def list_rules(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The rules as vmalert itself has them, in its private network: with `health`, `lastError` and `lastEvaluation`."""
    inside = "systemd-run --quiet --pipe --wait -p PrivateNetwork=yes -p JoinsNamespaceOf=farmlet-store.service"
    said = sandbox.exec("service", f"{inside} curl -sSf http://127.0.0.1:8880/api/v1/rules")
    return [rule for group in json.loads(said)["data"]["groups"] for rule in group["rules"]]


def fetch(sandbox: Sandbox, url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    """The status and the text that somebody without a certificate or session gets."""
    context = ssl.create_default_context(cafile=sandbox.ca)
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
