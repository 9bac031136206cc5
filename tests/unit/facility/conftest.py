"""A catalogue of stand-in parts, with the roles of the design's table (§5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from farmlet.facility.catalog import Issue, PartSpec, Place
from farmlet.facility.model import Facility, Issuer, Route


@dataclass(frozen=True)
class FakeRole:
    name: str
    place: Place
    ports: tuple[int, ...] = ()
    with_role: str | None = None
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class FakePart:
    name: str
    roles: tuple[FakeRole, ...]
    section: type[BaseModel] | None = None
    validate: Callable[[Facility], Iterable[Issue]] = lambda facility: ()
    implicit: bool = False
    decides: int = 0
    shell: bool = False
    issuer: Callable[[Any], Issuer | None] = lambda section: None


class Identity(BaseModel):
    model_config = ConfigDict(extra="forbid")
    issuer: str = "builtin"
    approval: Literal["admins", "nobody"] = "admins"


def find_issuer(section: Identity) -> Issuer | None:
    return None if section.issuer == "builtin" else Issuer(section.issuer)


class Bridge(BaseModel):
    target: str  # no default: a part that cannot run without settings


PARTS = (
    FakePart(
        "base", (FakeRole("proxy", "every", (443,)), FakeRole("agent", "every"), FakeRole("source", "control")), implicit=True
    ),
    FakePart("identity", (FakeRole("server", "control"),), Identity, decides=1, issuer=find_issuer),
    FakePart(
        "accounts",
        (
            FakeRole("directory", "control", (636,)),
            FakeRole("daemon", "control"),
            FakeRole("client", "members"),
            FakeRole("files", "named"),
        ),
        decides=2,
    ),
    FakePart("access", (FakeRole("login", "members", (22,)), FakeRole("authority", "control")), shell=True),
    FakePart(
        "batch",
        (
            FakeRole("manager", "control", (9618,)),
            FakeRole("access", "members", (9618,)),
            FakeRole("execute", "members"),
        ),
    ),
    FakePart("overlay", (FakeRole("controller", "control"),), decides=3),
    FakePart("sitetests", (FakeRole("scheduler", "control"),)),
    FakePart("monitoring", (FakeRole("store", "control"), FakeRole("exporter", "every"))),
    FakePart("tokens", (FakeRole("credmon", "members", (), "batch.access"), FakeRole("mytoken", "control"))),
    FakePart("storage", (FakeRole("server", "members", (1094, 8443)), FakeRole("client", "control"))),
    FakePart("software", (FakeRole("runtime", "members"), FakeRole("build", "control"))),
    FakePart("notebooks", (FakeRole("hub", "members"),)),
    FakePart("bridge", (FakeRole("gate", "members", (8443,)),), Bridge),
)


@pytest.fixture
def catalog() -> Mapping[str, PartSpec]:
    return {part.name: part for part in PARTS}
