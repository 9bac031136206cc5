"""The service's configuration: one JSON file, written by Farmlet's deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from farmlet.errors import InputError
from farmlet.facility.rights import Table
from farmlet.parts.identity.service.django.databases import POSTGRESQL
from farmlet.runtime.tokens import ALGORITHMS

REQUIRED = ("issuer", "title", "database", "keys", "secret_key_file", "rights")


@dataclass(frozen=True)
class Lifetimes:
    """Seconds that things are good for, where the client does not say less."""

    access: int = 3600
    refresh: int = 2592000
    device: int = 900  # a device code: the person has to find a browser and log in
    join: int = 604800
    session: int = 43200
    published: int = 3600  # a signing key, before it signs


@dataclass(frozen=True)
class Configuration:
    """What the file says. `keys` is the folder of signing keys; `uid_base` and `gid_base` are the first numbers given.

    `database`: the path of a SQLite file, or a `postgresql://` URL; `passfile`: libpq's file of passwords for it. `audit` is
    by default in `folder`.
    `seen`: the file in which the accounts daemon keeps all names and numbers that nodes know.
    `elements`: the audiences of the facility's storage elements; `logins`: those that open a log-in at its nodes, each with its
    words; `registered_logins`: whether programs that registered themselves may have these.
    `device_interval`: seconds between polls of a device (RFC 8628 §3.2). `registration`: whether programs may register
    themselves, `open` or `closed`.
    """

    issuer: str
    title: str
    database: str
    keys: Path
    secret_key_file: Path
    rights: Table
    audit: Path
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    uid_base: int = 20000
    gid_base: int = 30000
    algorithm: str = "ES256"
    registration: str = "open"
    elements: tuple[str, ...] = ()
    logins: Mapping[str, str] = field(default_factory=dict)
    registered_logins: bool = False
    device_interval: int = 5
    passfile: Path | None = None
    seen: Path | None = None

    @property
    def folder(self) -> Path:
        """The service's own: of the SQLite file, or of the keys where the database is elsewhere."""
        return _beside(self.database, self.keys)

    @property
    def secure(self) -> bool:
        """Whether browsers come over https; else (a test on loopback) cookies cannot be marked Secure."""
        return self.issuer.startswith("https://")

    @property
    def host(self) -> str:
        """The name under which requests may arrive."""
        return urlsplit(self.issuer).hostname or ""


def load_configuration(path: Path) -> Configuration:
    """Read and check the file. Raises InputError naming the file and the key."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error
    except ValueError as error:
        raise InputError(str(path), f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(str(path), "not a JSON object")
    return parse(data, str(path))


def parse(data: Mapping[str, Any], where: str) -> Configuration:
    """The configuration in `data`. Raises InputError; unknown keys are refused."""
    if missing := [name for name in REQUIRED if name not in data]:
        raise InputError(where, f"missing: {', '.join(missing)}")
    if unknown := sorted(set(data) - {item.name for item in fields(Configuration)}):
        raise InputError(where, f"unknown: {', '.join(unknown)}")
    values = dict(data)
    try:
        for name in ("keys", "secret_key_file", "passfile", "seen"):
            values[name] = Path(values[name]) if values.get(name) else None
        values["database"] = str(values["database"])
        values["audit"] = Path(values.get("audit", _beside(values["database"], values["keys"]) / "audit.log"))
        values["rights"] = Table.from_json(values["rights"])
        values["lifetimes"] = Lifetimes(**values.get("lifetimes", {}))
        values["elements"] = tuple(values.get("elements", ()))
        values["logins"] = dict(values.get("logins", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(where, f"not what was expected: {error}") from error
    configuration = Configuration(**values)
    _check(configuration, where)
    return configuration


def _beside(database: str, keys: Path) -> Path:
    return keys.parent if database.startswith(POSTGRESQL) else Path(database).parent


def _check(configuration: Configuration, where: str) -> None:
    issuer = urlsplit(configuration.issuer)
    if issuer.scheme not in ("https", "http") or not issuer.hostname or issuer.path or issuer.query or issuer.fragment:
        raise InputError(where, f"issuer {configuration.issuer!r} is not https://HOST[:PORT] without a trailing slash")
    if configuration.algorithm not in ALGORITHMS:
        raise InputError(where, f"algorithm {configuration.algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    if configuration.registration not in ("open", "closed"):
        raise InputError(where, f"registration {configuration.registration!r} is not open or closed")
    if type(configuration.registered_logins) is not bool:
        raise InputError(where, "registered_logins is not true or false")
    numbers = [configuration.uid_base, configuration.gid_base, *vars(configuration.lifetimes).values()]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise InputError(where, "uid_base, gid_base and lifetimes are positive integers")
