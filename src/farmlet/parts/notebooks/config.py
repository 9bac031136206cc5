"""`notebooks:` of the facility file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from farmlet.facility.fields import Count, Memory

GIB = 1 << 30


class Notebooks(BaseModel):
    """How large a notebook is for who does not choose: `cores`, and `memory` in bytes. `servers`: how many a member may have at a
    time, each with a name of its own but for the first.

    `idle_hours`: a server where nothing runs and nobody looks ends after so many (0: never); so do kernels and terminals, unless
    they work. `silent_hours`: how long servers start by what is known of the members while identity is silent (0: for ever);
    those that run go on. `sharing`: members may let colleagues into a server of theirs; each has an origin of their own then,
    NAME.notebooks.<domain>, which wants a wildcard in DNS. `client`: with an external issuer, the id of the confidential client
    there as which the Hub logs members in; its secret is in a file of the node. `spawner`: what runs the servers, `docker`, or
    `systemd` where no Docker daemon is to be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spawner: Literal["docker", "systemd"] = "docker"
    cores: Count = 1
    memory: Memory = 2 * GIB
    servers: Count = 2
    idle_hours: int = Field(default=12, ge=0, le=720)
    silent_hours: int = Field(default=24, ge=0, le=720)
    sharing: bool = False
    client: str = Field(default="farmlet-notebooks", min_length=1, max_length=256, pattern="^[!-9;-~]+$")
