"""The section `monitoring:` of the facility file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farmlet.facility.fields import checked
from farmlet.facility.names import check_port

# of mail a relay takes: no quoted names, nothing that a header or a list of addresses would read otherwise
ADDRESS = re.compile(r"[A-Za-z0-9._%+/=-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
RELAY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}")
Address = Annotated[str, checked(lambda text: None if ADDRESS.fullmatch(text) else f"{text!r} is no address of e-mail")]


class Mail(BaseModel):
    """Where alarms go. `to`: who gets them; `smtp`: the relay that takes them, HOST:PORT; `from`: whose they are.

    `tls`: the relay must offer STARTTLS, with a certificate that the control node trusts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    to: tuple[Address, ...] = Field(min_length=1)
    smtp: str
    sender: Address = Field(alias="from")
    tls: bool = True

    @field_validator("smtp")
    @classmethod
    def _check_smtp(cls, value: str) -> str:
        if not RELAY.fullmatch(value):
            raise ValueError("is like mail.example.org:25")
        if wrong := check_port(f"//{value}"):
            raise ValueError(wrong)
        return value


class Section(BaseModel):
    """`mail`: without it alarms are on the page only. `keep_days`: how long numbers are kept. `scrape_seconds`: how often each
    node is asked for its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mail: Mail | None = None
    keep_days: int = Field(default=400, ge=2, le=3650)
    scrape_seconds: int = Field(default=15, ge=5, le=60)
