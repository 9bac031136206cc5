"""`tokens:` of the facility file."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farmlet.facility.names import check_port


class Tokens(BaseModel):
    """`issuers`: further issuers whose refresh tokens members may store for their jobs (`condor_store_cred`).

    `client`: with an external issuer, the id of its public client for credentials of jobs (device flow, refresh tokens).
    `keep_days`: a credential that no job and no session of its member has needed for so many days is removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuers: tuple[str, ...] = ()
    client: str = Field(default="batch", max_length=256, pattern="^[!-~]+$")
    keep_days: int = Field(default=30, ge=1, le=365)

    @field_validator("issuers")
    @classmethod
    def _check_issuers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for issuer in value:
            # they stand in a command line of HTCondor's configuration, and are compared as text
            if not re.fullmatch(r"https://[A-Za-z0-9][A-Za-z0-9:/._~@+=-]*", issuer) or urlsplit(issuer).username is not None:
                raise ValueError(f"{issuer!r} is not the https URL of an issuer")
            if wrong := check_port(issuer):
                raise ValueError(f"{issuer}: {wrong}")
        return value
