"""The section `accounts:` of the facility file."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farmlet.facility.fields import Certificates, checked
from farmlet.facility.names import check_port

Path = Annotated[
    str,
    Field(pattern=r"^(/[A-Za-z0-9._-]+)+$"),
    checked(lambda path: f"{path} has `.` or `..`" if {".", ".."} & set(path.split("/")) else None),
]
# of RFC 4514 what needs no escape, in configuration files of others either
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*=[A-Za-z0-9._@ -]+(, ?[A-Za-z][A-Za-z0-9-]*=[A-Za-z0-9._@ -]+)*$")]


class Existing(BaseModel):
    """An existing directory with the schema of RFC 2307. `url`: ldaps://HOST[:PORT], or ldap://HOST[:PORT] with StartTLS.

    `people`, `groups`: the distinguished names below which Farmlet writes. `bind`: its account there; the password is in a
    file on the control node. `ca`: certificates (PEM) of the server's authority, if the system does not trust it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    people: Name
    groups: Name
    bind: Name
    ca: Certificates = ""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if not re.fullmatch(r"ldaps?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?/?", value):
            raise ValueError("is like ldaps://ldap.example.org")
        if wrong := check_port(value):
            raise ValueError(wrong)
        return value.rstrip("/")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def starts(self) -> bool:
        """Whether TLS is asked for on a plain port."""
        return self.url.startswith("ldap:")

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (389 if self.starts else 636)


class Section(BaseModel):
    """`homes`, `scratch`: the directories of members' homes and scratch folders. `shell`: their log-in shell.

    `keep_days`: after so many days the home of a removed member moves to the archive; nothing is ever deleted.
    `ldap`: an existing directory for the accounts; without it the facility has its own. `poll_seconds`: how often the
    members of an external issuer are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    homes: Path = "/home"
    scratch: Path = "/scratch"
    keep_days: int = Field(default=90, ge=0, le=36500)
    shell: Path = "/bin/bash"
    ldap: Existing | None = None
    poll_seconds: int = Field(default=60, ge=5, le=3600)
