"""The section `identity:` of the facility file."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """`issuer`: `builtin`, or the https URL of an external one. `approval`: who lets a new member in.

    `registration`: whether programs that act for people (oidc-agent and the like) may register themselves.
    `first_uid` and `first_gid`: where the numbers of members and groups begin. They are given once: changing them
    later moves new members only.

    `database`: `sqlite`, a file on the control node, or `postgresql://USER@HOST[:PORT]/NAME`, without a password.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = "builtin"
    approval: Literal["admins", "open"] = "admins"
    registration: Literal["open", "closed"] = "open"
    database: str = "sqlite"
    first_uid: int = Field(default=20000, ge=1000, le=60000)
    first_gid: int = Field(default=30000, ge=1000, le=60000)

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
        if url.scheme != "https" or not url.hostname or url.query or url.fragment:
            raise ValueError("is `builtin` or the https URL of an issuer")
        raise ValueError("an external issuer is not supported yet; write `builtin`")
