"""The section `base:` of the facility file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """`check_seconds`: how often each node runs its checks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check_seconds: int = Field(default=15, ge=5, le=600)
