"""`tokens:` of the facility file. Nothing to choose yet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Tokens(BaseModel):
    """No settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
