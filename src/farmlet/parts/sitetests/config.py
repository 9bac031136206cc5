"""`sitetests:` of the facility file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """How often sites are tested. Times in seconds.

    `every`: between two runs of a test that does not say so itself. `share`: percent of the time that one test may take at a
    site; what takes longer runs seldomer there. `wait`: how long a job may wait in a site's queue before that is a failure of the
    site. `keep_days`: how long results are kept. `folder`: the collaboration's own tests, a folder beside the facility file that
    need not be there; `farmlet up` brings its files to the control node. `cvmfs`: sites that promise the repositories of
    `software: {cvmfs: …}`, and are tested for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Annotated[int, Field(ge=10)] = 600
    wait: Annotated[int, Field(ge=10)] = 300
    share: Annotated[int, Field(ge=1, le=100)] = 10
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    cvmfs: tuple[str, ...] = ()
    folder: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9._/-]+$")] = "sitetests"
