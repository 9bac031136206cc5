"""`overlay:` of the facility file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Overlay(BaseModel):
    """How drones come and go. Times in seconds, memory in MiB.

    `idle_timeout`: how long drones stay when nothing is queued. `walltime`: the longest a drone lives. `cores`, `memory`: of one
    drone. `pending`: how long an order may wait in a site's queue. `cache`: disk on a host of a site for images, where
    the site has not the facility's part of /cvmfs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_timeout: Annotated[int, Field(ge=1)] = 10
    walltime: Annotated[int, Field(ge=60)] = 24 * 3600
    pending: Annotated[int, Field(ge=60)] = 6 * 3600
    cores: Annotated[int, Field(ge=1)] = 1
    memory: Annotated[int, Field(ge=256)] = 1024
    cache: Annotated[int, Field(ge=1024)] = 20 * 1024
