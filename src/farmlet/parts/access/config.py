"""The section `access:` of the facility file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farmlet.facility.model import checked

# of hosts that are not ours: wider than members' names, without what a pattern of sshd's has (`*`, `?`, `!`, `,`, a blank)
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
Account = Annotated[str, checked(lambda name: None if ACCOUNT.fullmatch(name) else f"{name!r} is no UNIX name")]


class Section(BaseModel):
    """`certificate_hours`: how long a member's SSH certificate lives. `local_admins`: accounts of the hosts themselves
    that keep their key log-in, besides root and the account that deploys. `client`: with an external issuer, the id of the
    public client there with which `farmlet login` asks for tokens (device flow, refresh tokens; `audience` must be free).
    `motley`: members may also come in by access token, as `mccli` does it (motley-cue; not with a directory by StartTLS).
    `news`: what members read when they log in to a terminal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_hours: int = Field(default=12, ge=1, le=24)
    local_admins: tuple[Account, ...] = ()
    client: str = Field(default="", max_length=256, pattern="^[!-~]*$")
    motley: bool = True
    news: str = Field(default="", max_length=4000)

    @field_validator("news")
    @classmethod
    def _check_news(cls, value: str) -> str:
        if not value.replace("\n", "").isprintable():
            raise ValueError("has characters that a terminal might obey")
        return value.strip("\n")
