"""What the demo is played on: the endpoints of a facility as a member's own machine sees them, and the member."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farmlet.runtime.oauth import Started


@dataclass(frozen=True)
class Guest:
    """How a member whom an external issuer keeps plays: they allow each client in their own browser, which `show` asks for.

    `client`, `jobs`: the ids of the public clients there; `scope`: what opens storage; `folders`: group as tokens name it → a
    path on storage that its members may write.
    """

    client: str
    jobs: str
    scope: str
    folders: Mapping[str, str]
    show: Callable[[Started], None]


@dataclass(frozen=True)
class Stage:
    """A facility and a directory to work in.

    `register` makes a member of a group, already approved, and gives the one-time URL where the member sets a password.
    `pool` lists the slots of drones in the overlay pool now. Both act as the admin; all else is done as the member: a new one, or
    with `guest` one whom an external issuer keeps.
    """

    issuer: str  # URL of the token issuer
    host: str  # name of the log-in node
    storage: str  # URL of the site's storage element, e.g. https://tier1.sites.farmlet.test:8443
    cafile: Path  # authorities (PEM) this machine trusts for all of the above
    signer: str  # URL that signs SSH keys for a token, e.g. ISSUER/ssh/sign
    authority: str  # public key line of the SSH host authority
    names: str  # host names that authority speaks for, e.g. *.farmlet.test
    workdir: Path  # made if missing; keys and results of this run
    cache: Path  # the recorded data are kept here between runs
    register: Callable[[str, str], str]
    pool: Callable[[], Sequence[str]]
    notebooks: str = ""  # URL of the notebooks, "" where there are none
    group: str = "lab"
    image: str = "/cvmfs/unpacked/analysis"
    bundle: str = "/etc/ssl/certs/ca-certificates.crt"  # authorities as the log-in node has them
    jobs: int = 8
    links: Mapping[str, str] = field(default_factory=dict)  # what to name at the end: title → URL
    guest: Guest | None = None


def invent_name() -> str:
    """A UNIX name that nobody has: letters and digits, 10 characters."""
    return "demo" + "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(6))


@dataclass
class Member:
    """Who plays, and what they hold so far. Secrets stay in this process and in files of mode 0600."""

    name: str = field(default_factory=invent_name)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    token: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)  # of a guest
    folder: str = ""  # on storage, of a guest; others have one of their own
    cluster: int = 0
    result: dict[str, object] = field(default_factory=dict)

    def home(self, stage: Stage) -> str:
        """URL of this member's demo directory on the site's storage."""
        return f"{stage.storage.rstrip('/')}{self.folder or '/users'}/{self.name}/demo"
