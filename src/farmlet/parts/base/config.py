"""The section `base:` of the facility file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from farmlet.facility.fields import Certificates


class Section(BaseModel):
    """`check_seconds`: how often each node runs its checks. `ca`: the certificates (PEM) of authorities that all nodes trust
    besides the system's own, a network's own say: for git, curl, pip and all else that goes by the system's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check_seconds: int = Field(default=15, ge=5, le=600)
    ca: Certificates = ""
