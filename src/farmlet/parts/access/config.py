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
    """`certificate_hours`: how long a member's SSH certificate lives. `local_admins`: accounts of the hosts themselves
    that keep their key log-in, besides root and the account that deploys. `client`: with an external issuer, the id of the
    public client there with which `farmlet login` asks for tokens (device flow, refresh tokens; `audience` must be free). Its
    tokens open a log-in, and those of `login_clients`, further ids (of oidc-agent for all members, say); no others do, since such
    an issuer gives the audience to any client. `login_clients: [any]` takes every client that the issuer has, and
    `farmlet validate` says what that means.
    `motley`: members may also come in by access token, as `mccli` does it (motley-cue; not with a directory by StartTLS).
    `news`: what members read when they log in to a terminal. `packages`: Debian packages that members want on the log-in nodes,
    besides git, editors, build tools and the like, which are there.
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
