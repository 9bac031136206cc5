"""`batch:` of the facility file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Batch(BaseModel):
    """`interval`: seconds between two rounds of matching jobs to slots. `token_days`: life of a node's pool token.

    `deprovisioning`: what becomes of the jobs of members whose membership is suspended or has expired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval: Annotated[int, Field(ge=1, le=300)] = 2
    token_days: Annotated[int, Field(ge=3, le=90)] = 30
    deprovisioning: Literal["hold", "remove"] = "hold"
