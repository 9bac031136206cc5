"""The section `access:` of the facility file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farmlet.facility.fields import checked
from farmlet.runtime.issuer.logins import ANY

# of hosts that are not ours: wider than members' names, without what a pattern of sshd's has (`*`, `?`, `!`, `,`, a blank)
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,60}")
Account = Annotated[str, checked(lambda name: None if ACCOUNT.fullmatch(name) else f"{name!r} is no UNIX name")]

Client = Annotated[str, Field(min_length=1, max_length=256, pattern="^[!-~]+$")]

# Debian policy §5.6.1
Package = Annotated[str, checked(lambda name: None if PACKAGE.fullmatch(name) else f"{name!r} is no name of a Debian package")]


class Section(BaseModel):
    """`certificate_hours`: lifetime of a member's SSH certificate. `local_admins`: accounts of the hosts that keep their log-in
    by key, besides root and the account that deploys. `client`: with an external issuer, the id of its public client for
    `farmlet login` (device flow, refresh tokens, any `audience`). `login_clients`: ids of further clients whose tokens open a
    log-in, for example one for oidc-agent. Tokens of other clients do not, because an external issuer gives the audience to every
    client. `login_clients: [any]` accepts every client of the issuer; `farmlet validate` says what that means.
    `motley`: members may also log in by access token, with `mccli` (motley-cue; not with a directory by StartTLS).
    `news`: a text shown at log-in to a terminal. `packages`: further Debian packages for the log-in nodes; git, editors and build
    tools are there already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_hours: int = Field(default=12, ge=1, le=24)
    local_admins: tuple[Account, ...] = ()
    client: str = Field(default="", max_length=256, pattern="^[!-~]*$")
    login_clients: tuple[Client, ...] = ()
    motley: bool = True
    news: str = Field(default="", max_length=4000)
    packages: tuple[Package, ...] = ()

    @field_validator("login_clients")
    @classmethod
    def _check_clients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if ANY in value and len(value) > 1:
            raise ValueError(f"names `{ANY}` beside others: it stands alone")
        return value

    @field_validator("news")
    @classmethod
    def _check_news(cls, value: str) -> str:
        if not value.replace("\n", "").isprintable():
            raise ValueError("has characters that a terminal might obey")
        return value.strip("\n")
