"""The section `identity:` of the facility file."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """`issuer`: `builtin`, or the https URL of an external one. `approval`: who lets a new member in.

    `registration`: whether programs that act for people (oidc-agent and the like) may register themselves.
    `first_uid` and `first_gid`: where the numbers of members and groups begin. They are given once: changing them
    later moves new members only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = "builtin"
    approval: Literal["admins", "open"] = "admins"
    registration: Literal["open", "closed"] = "open"
    first_uid: int = Field(default=20000, ge=1000, le=60000)
    first_gid: int = Field(default=30000, ge=1000, le=60000)

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        if value == "builtin":
            return value
        url = urlsplit(value)
        if url.scheme != "https" or not url.hostname or url.query or url.fragment:
            raise ValueError("is `builtin` or the https URL of an issuer")
        raise ValueError("an external issuer is not supported yet; write `builtin`")
