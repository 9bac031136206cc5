"""`storage:` of the facility file. Nothing to choose yet; who may read and write what stands with the groups."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Storage(BaseModel):
    """No settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
