"""The section `monitoring:` of the facility file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from farmlet.facility.fields import checked
from farmlet.facility.names import check_port
from farmlet.parts.vendor import Source

# of mail a relay takes: no quoted names, nothing that a header or a list of addresses would read otherwise
ADDRESS = re.compile(r"[A-Za-z0-9._%+/=-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
HERE = "localhost"
RELAY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}")
# it becomes a word of a unit file: no quotes, blanks or signs that systemd or a shell would read; a name or secret before an @
# would stand in a command line
URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~/?&=+,:-]*)?")
Address = Annotated[str, checked(lambda text: None if ADDRESS.fullmatch(text) else f"{text!r} is no address of e-mail")]


def check_url(text: str) -> str | None:
    if not URL.fullmatch(text):
        return f"{text!r} is no URL like https://host.example.org/path, without a user in it"
    return check_port(text)


Url = Annotated[str, checked(check_url)]

OUTSIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")
Outsider = Annotated[
    str, checked(lambda text: None if OUTSIDER.fullmatch(text) else f"{text!r} is not like telegraf: a-z, 0-9 and -")
]
PATH = re.compile(r"/[A-Za-z0-9._/-]+")
Path = Annotated[str, checked(lambda text: None if PATH.fullmatch(text) else f"{text!r} is no absolute path of plain signs")]


class Also(BaseModel):
    """A second store, which takes Prometheus remote write. `url`: e.g. https://influx.example.org:8086/api/v1/prom/write?db=lab.

    `user`, `password_file`: for it, if it asks; the file is yours and lies on the control node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url
    user: str = Field(default="", pattern="^[A-Za-z0-9._@-]*$")
    password_file: Path = ""


def _read_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


Role = Literal["Viewer", "Editor", "Admin"]  # as Grafana calls them


class Grafana(BaseModel):
    """Your Grafana, which gets folder, data source and dashboards by its API. `url`: as people open it, by https; none where a
    node runs `monitoring.grafana`, which installs one. `source`: where that comes from; without it from where the host's apt
    takes packages.

    `roles`: who may log in to it as what, by group; groups below one have its role too. Groups that administer are `Admin` in any
    case. Whoever is in none of them is not let in: a Grafana reads all numbers. The token of a service account of it, with the
    role Admin, is yours to put into a file of the control node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url = ""
    source: Source | None = None
    roles: Mapping[str, Role] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _check_scheme(cls, value: str) -> str:
        if not value.startswith("https://") or "?" in value:
            raise ValueError(f"{value!r} is no https://HOST/PATH: tokens go there")
        return value.rstrip("/")

    @property
    def back(self) -> str:
        """Where the issuer sends back who logs in; Grafana's docs, generic OAuth."""
        return f"{self.url}/login/generic_oauth"


READER = "grafana"  # as which a Grafana reads


class Mail(BaseModel):
    """Where alarms go. `to`: who gets them; `smtp`: the relay that takes them, HOST:PORT, without it the control node's own mail
    server; `from`: whose they are.

    `tls`: the relay must offer STARTTLS, with a certificate that the control node trusts; without it any but the node's own must.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    to: tuple[Address, ...] = Field(min_length=1)
    smtp: str = f"{HERE}:25"
    sender: Address = Field(alias="from")
    tls: bool | None = None

    @field_validator("smtp")
    @classmethod
    def _check_smtp(cls, value: str) -> str:
        if not RELAY.fullmatch(value):
            raise ValueError("is like mail.example.org:25")
        if wrong := check_port(f"//{value}"):
            raise ValueError(wrong)
        return value

    @property
    def secured(self) -> bool:
        """What stays on the node needs no TLS, and a mail server as Debian installs it has a certificate that nobody trusts."""
        return self.smtp.rpartition(":")[0] != HERE if self.tls is None else self.tls


class Section(BaseModel):
    """`mail`: without it and `webhooks` alarms are on the page only. `webhooks`: get all alarms as Alertmanager's JSON.

    `deadman`: is told every minute, by a POST, that fresh numbers of every node come; it is outside, and calls when it hears
    nothing. `also`: further stores that get the same numbers, by URL. `writers`: names of programs outside that may write
    numbers of their own, `readers`: of such that may read all; each has a token. `grafana`: yours, by URL, which gets our
    dashboards and reads with a token too. `backups`: by node the folder there in which your backup leaves a file each time, or a
    file that it touches: an alarm tells when that is two days old. `keep_days`: how long numbers are kept. `scrape_seconds`: how
    often each node is asked for its numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mail: Mail | None = None
    webhooks: tuple[Url, ...] = ()
    deadman: Url | None = None
    also: tuple[Annotated[Also, BeforeValidator(_read_url)], ...] = ()
    writers: tuple[Outsider, ...] = ()
    readers: tuple[Outsider, ...] = ()
    grafana: Annotated[Grafana, BeforeValidator(_read_url)] | None = None
    backups: Mapping[str, Path] = Field(default_factory=dict)
    keep_days: int = Field(default=400, ge=2, le=3650)
    scrape_seconds: int = Field(default=15, ge=5, le=60)

    @property
    def tells(self) -> bool:
        """Whether somebody is to be told of alarms."""
        return bool(self.mail or self.webhooks or self.deadman)
