"""What the Hub is told of this facility. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from farmlet.parts.notebooks.sizes import Size

COOKIE = "__Host-farmlet-member"  # whose browser it is: see `claim`
CLAIM = "/claim"  # the Hub's page that sets it


@dataclass(frozen=True)
class Settings:
    """`origin`: where browsers find the Hub; `issuer`: as tokens say it; `client`: the Hub's there.

    Files and folders of the node: `roster` and `heard` (see there), `state`, `tokens` of notebooks and of log-in `sessions`,
    stored `credentials`, the published `image`, the area of `unpacked` ones ("": none), the hashed `certificates` of
    authorities, `scratch`; `usage` of homes and scratch, in words; `closed` is there while no notebook begins; `inside`: what
    servers have of ours, `editor`: VS Code, `condor`: settings for HTCondor's programs in servers; `meet`, `readers`: see
    `places`. `mounted`: the mode in which they have /cvmfs.

    `spawner`: what runs servers, see `config`; `network`: Docker's name for theirs, or the addresses of units. `cores` and
    `memory` (bytes): the usual size; `servers`: how many of a member's run at a time, usually; `idle`: seconds, 0 for never,
    and so is `silent`: how long servers start though nobody could read the membership. `sharing`: whether each member has an
    origin, and may let others into a server. `proxy`, `api`, `hub`: TCP ports of loopback.
    """

    title: str
    origin: str
    issuer: str
    client: str
    roster: str
    heard: str
    state: str
    tokens: str
    sessions: str
    credentials: str
    image: str
    unpacked: str
    spawner: str
    network: str
    certificates: str
    scratch: str
    usage: str
    closed: str
    inside: str
    mounted: str
    editor: str
    condor: str
    meet: str
    readers: str
    cores: int
    memory: int
    servers: int
    idle: int
    silent: int
    sharing: bool
    proxy: int
    api: int
    hub: int

    @classmethod
    def load(cls, path: str) -> Settings:
        return cls(**json.loads(Path(path).read_text()))

    @property
    def usual(self) -> Size:
        return Size(self.cores, self.memory)
