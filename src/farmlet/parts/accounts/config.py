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
    """A directory that is not ours, by RFC 2307. `url`: ldaps://HOST[:PORT], or ldap://HOST[:PORT] with StartTLS.

    `people`, `groups`: the distinguished names below which Farmlet writes. `bind`: who it is there; its password is in no
    facility file, but in a file of the control node. `ca`: the certificates (PEM) that vouch for the server, if the system's
    authorities do not.
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
    """`homes`, `scratch`: the directories that hold members' homes and their scratch folders. `shell`: their log-in shell.

    `keep_days`: the home of a removed member goes to the archive after these days; nothing is ever deleted.
    `ldap`: an existing directory to hold the accounts; without it the facility has its own. `poll_seconds`: how often an
    external issuer, which tells no changes by itself, is asked for its members.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    homes: Path = "/home"
    scratch: Path = "/scratch"
    keep_days: int = Field(default=90, ge=0, le=36500)
    shell: Path = "/bin/bash"
    ldap: Existing | None = None
    poll_seconds: int = Field(default=60, ge=5, le=3600)
