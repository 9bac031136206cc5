"""The configuration as a page for its admin gives it, as far as tokens go by it. §1."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dcache.tokens import Authority, Unknown

BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROVIDER = re.compile(
    r"^gplazma\.oidc\.provider!\S+ = (?P<issuer>\S+) -profile=wlcg -prefix=(?P<prefix>\S+)"
    r' -authz-id="uid:UID gid:GID username:(?P<user>\S+)"$',
    re.MULTILINE,
)


def configure(text: str, fetch: Callable[[], Mapping[str, Any]]) -> Authority:
    """By scopes. Raises Unknown where a login would fail: with no line for tokens, or none for the session of their user."""
    lines = "\n".join(BLOCK.findall(text))
    provider = PROVIDER.search(lines)
    audiences = re.search(r"^gplazma\.oidc\.audience-targets = (.+)$", lines, re.MULTILINE)
    if not provider or not audiences or not re.search(r"^auth +optional +oidc$", lines, re.MULTILINE):
        raise Unknown("no provider")
    session = re.search(r"^session +requisite +omnisession$", lines, re.MULTILINE)
    if not session or not re.search(rf"^username:{re.escape(provider['user'])} root:/ home:/$", lines, re.MULTILINE):
        raise Unknown("VALIDATION FAIL (no home-directory, no root-directory)")
    return Authority(provider["issuer"], tuple(audiences[1].split()), fetch, prefix=provider["prefix"])
