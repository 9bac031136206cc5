"""What a node can be asked to have: the vocabulary in which parts say what they need.

A part answers with a list of these values; nothing here touches a node. The engine compares the list with what it sees
on the node (one round trip) and brings about the difference, in the order of the list. Each value knows its own
`label` (what a person reads in `plan`) and its `digest` (sha256 of all that matters), so a node's state can be
compared without comparing contents.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar

LEAF_DAYS = 30  # a certificate lives; design §9
RENEWAL_DAYS = 730  # the intermediate authority that renews certificates


@dataclass(frozen=True)
class Resource:
    """Base of all resources. `noun`: what it is called before its first field, which is a path or a name."""

    noun: ClassVar[str]

    @property
    def label(self) -> str:
        """What a person reads in a plan, e.g. `file /etc/hosts`."""
        return f"{self.noun} {getattr(self, fields(self)[0].name)}"

    @property
    def digest(self) -> str:
        """sha256 (hex) over every field."""
        text = json.dumps(asdict(self), sort_keys=True, default=lambda value: value.hex())
        return hashlib.sha256(f"{type(self).__name__}{text}".encode()).hexdigest()

    @property
    def tree(self) -> str:
        """A folder that this resource alone fills, which takes long: a node image takes it over from another that has it."""
        return ""


@dataclass(frozen=True)
class Packages(Resource):
    """Debian packages that are installed; `suite` names another suite than the node's own (e.g. `sid`)."""

    names: tuple[str, ...]
    suite: str = ""

    @property
    def label(self) -> str:
        return f"packages {' '.join(self.names)}"


@dataclass(frozen=True)
class Environment(Resource):
    """A Python virtual environment that holds exactly the pinned `requirements` (pip's format, with hashes: root installs them).

    `system` lets it see Debian's own Python packages (python3-ldap and the like have no wheels).
    """

    noun = "environment"
    path: str
    requirements: str
    system: bool = False

    @property
    def tree(self) -> str:
        return self.path if self.requirements else ""


@dataclass(frozen=True)
class Farmlet(Resource):
    """This very Farmlet (the wheel the engine carries), installed without dependencies in the environment `path`."""

    noun = "farmlet in"
    path: str
    wheel: str  # sha256 of the wheel's contents


@dataclass(frozen=True)
class Account(Resource):
    """A system account (no log-in, no password) with its own group and the further groups named."""

    noun = "account"
    name: str
    home: str = "/nonexistent"
    groups: tuple[str, ...] = ()
    shell: str = "/usr/sbin/nologin"


@dataclass(frozen=True)
class Directory(Resource):
    noun = "directory"
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class File(Resource):
    """A file with these bytes."""

    noun = "file"
    path: str
    content: str | bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    @classmethod
    def of_json(cls, path: str, value: object, mode: int = 0o644) -> File:
        return cls(path, json.dumps(value, indent=1) + "\n", mode)

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclass(frozen=True)
class Absent(Resource):
    """A path that must not be there (a distribution's default site, a key baked by a package)."""

    noun = "no"
    path: str


@dataclass(frozen=True)
class Random(Resource):
    """A secret of `size` random bytes (hex), made once on the node itself and never compared, sent or stored elsewhere."""

    noun = "secret"
    path: str
    size: int = 32
    mode: int = 0o600
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class KeyPair(Resource):
    """An OpenSSH ed25519 key pair made once on the node itself; only the public half (`path`.pub) is ever read."""

    noun = "key pair"
    path: str
    owner: str = "root"
    comment: str = "farmlet"


@dataclass(frozen=True)
class Certificate(Resource):
    """An X.509 certificate of the facility's authority for `names`; the node renews it before it ends, or the next `up` does.

    The key is made on the node and stays there; the engine signs. `client` adds the extended key usage of a client. `reload`: the
    command after which the service that shows it uses a renewed one, if it does not look by itself. `signs`: it is the
    intermediate authority, of whose leaves `names` are; only `up` renews that.
    """

    noun = "certificate"
    path: str  # certificate, mode 0644
    key: str  # private key
    names: tuple[str, ...]
    owner: str = "root"
    group: str = "root"
    mode: int = 0o600  # of the key
    client: bool = False
    reload: tuple[str, ...] = ()
    signs: bool = False

    @property
    def renew_days(self) -> int:
        """With fewer days left `up` makes it anew. After each `up` a facility can be left alone for a year."""
        return 400 if self.signs else LEAF_DAYS // 3


@dataclass(frozen=True)
class Command(Resource):
    """A shell command that brings something about. It runs whenever `unless` (a shell test) fails; it must be safe to repeat.

    Without `unless` it runs once for each new digest of the role's resources before it, like a unit's restart. `makes`: files of
    ours that it writes, which go when the role leaves the node. `fills`: the folder whose whole content it makes (see `tree`);
    then what goes into it must show in `run` or `unless`.
    """

    noun = "step"
    name: str
    run: str
    unless: str = ""
    user: str = "root"
    makes: tuple[str, ...] = ()
    fills: str = ""

    @property
    def tree(self) -> str:
        return self.fills


@dataclass(frozen=True)
class Unit(Resource):
    """A systemd unit that is enabled and runs (or, with `running=False`, is stopped and not enabled).

    It is restarted (or reloaded) when any resource before it in its role has changed since its last start; the node
    keeps that fingerprint beside the unit's name, so a killed `up` never leaves a service on its old configuration.
    """

    name: str
    running: bool = True
    reload: bool = False

    @property
    def label(self) -> str:
        return f"{'' if self.running else 'no '}unit {self.name}"


@dataclass(frozen=True)
class Wanted:
    """All that one role wants on one node."""

    role: str
    resources: tuple[Resource, ...] = field(default_factory=tuple)

    def fingerprint(self, upto: Resource) -> str:
        """sha256 over the digests of all resources of this role before `upto`."""
        text = ""
        for resource in self.resources:
            if resource == upto:
                break
            text += resource.digest
        return hashlib.sha256(text.encode()).hexdigest()
