"""The section `identity:` of the facility file."""

from __future__ import annotations

import re
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from farmlet.facility.names import check_port

# INDIGO IAM's own rule for groups (WLCG Common JWT Profile: scope `wlcg.groups`), without the slash that tokens begin with
PREFIX = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*(/[a-zA-Z0-9][a-zA-Z0-9_.-]*)*")
LONGEST = 30  # XRootD reads no group longer than 63 characters; ours has up to 32


class Section(BaseModel):
    """`issuer`: `builtin`, or the https URL of an INDIGO IAM, exactly as in its tokens (it ends in a slash).

    `registration`: whether programs that act for people (such as oidc-agent) may register themselves. `registered_logins`:
    whether such programs may ask for an SSH log-in as a member; the consent page then says so.
    `first_uid`, `first_gid`: the first number of members and of groups. A change affects new members only. Nothing on any node
    acts on a user id below `first_uid`, whatever an issuer says, so never raise it above the number of a member.
    `database`: `sqlite`, a file on the control node, or `postgresql://USER@HOST[:PORT]/NAME`, without a password.

    For an INDIGO IAM only: `client` is the id of our client there, which reads the members (scope `scim:read`); its secret
    is in a file on the control node. `group_prefix`: the parent group in the IAM; with `vo/af`, the IAM's group `vo/af/lab` is
    our `lab`. Only groups of this file count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = "builtin"
    registration: Literal["open", "closed"] = "open"
    registered_logins: bool = False
    database: str = "sqlite"
    first_uid: int = Field(default=20000, ge=1000, le=60000)
    first_gid: int = Field(default=30000, ge=1000, le=60000)
    client: str = Field(default="farmlet-accounts", min_length=1, max_length=256)
    group_prefix: str = ""

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: str) -> str:
        url = urlsplit(value)
        if value != "sqlite" and (url.scheme != "postgresql" or len(url.path) < 2 or url.fragment):
            raise ValueError("is `sqlite` or postgresql://USER@HOST/NAME")
        if url.password is not None or "password" in parse_qs(url.query):
            raise ValueError("holds a password; put it into /etc/farmlet/identity.pgpass on the control node")
        return value

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        if value == "builtin":
            return value
        url = urlsplit(value)
        sound = url.scheme == "https" and url.hostname and not url.query and not url.fragment and not url.username
        # it is written into configuration files of others, and compared as text
        if not sound or not re.fullmatch(r"[A-Za-z0-9:/._~@+=-]+", value):
            raise ValueError("is `builtin` or the https URL of an issuer")
        if wrong := check_port(value):
            raise ValueError(wrong)
        return value

    @field_validator("group_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        plain = value.strip("/")
        if plain and (not PREFIX.fullmatch(plain) or len(plain) > LONGEST):
            raise ValueError(f"is a group of the issuer such as vo/af, of at most {LONGEST} characters")
        return plain

    @model_validator(mode="after")
    def _check_external(self) -> Self:
        if self.issuer == "builtin" and (given := self.model_fields_set & {"client", "group_prefix"}):
            raise ValueError(f"{' and '.join(sorted(given))}: only with the URL of an INDIGO IAM as issuer")
        return self
