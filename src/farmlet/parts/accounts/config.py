"""The section `accounts:` of the facility file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Path = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")]


class Section(BaseModel):
    """`homes`: the directory that holds members' homes. `shell`: their log-in shell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    homes: Path = "/home"
    shell: Path = "/bin/bash"
