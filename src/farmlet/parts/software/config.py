"""`software:` of the facility file. Nothing to choose yet: one image, made by the facility."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Software(BaseModel):
    """Images that jobs may run in. `default`: the image of jobs that name none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str = Field(default="analysis", pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")
