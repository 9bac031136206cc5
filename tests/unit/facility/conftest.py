"""A catalogue of stand-in parts, with the roles of the design's table (§5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from farmlet.facility.catalog import Complaint, PartSpec, Place
from farmlet.facility.model import Facility


@dataclass(frozen=True)
class FakeRole:
    name: str
    place: Place
    ports: tuple[int, ...] = ()
    with_role: str | None = None


@dataclass(frozen=True)
class FakePart:
    name: str
    roles: tuple[FakeRole, ...]
    section: type[BaseModel] | None = None
    judge: Callable[[Facility], Iterable[Complaint]] = lambda facility: ()


class Identity(BaseModel):
    model_config = ConfigDict(extra="forbid")
    issuer: str = "builtin"
    approval: Literal["admins", "nobody"] = "admins"


class Bridge(BaseModel):
    target: str  # no default: a part that cannot run without settings


PARTS = (
    FakePart("base", (FakeRole("front", "every", (443,)), FakeRole("agent", "every"), FakeRole("source", "control"))),
    FakePart("identity", (FakeRole("server", "control"),), Identity),
    FakePart(
        "accounts",
        (
            FakeRole("directory", "control", (636,)),
            FakeRole("daemon", "control"),
            FakeRole("client", "members"),
            FakeRole("files", "named"),
        ),
    ),
    FakePart("access", (FakeRole("login", "members", (22,)), FakeRole("authority", "control"))),
    FakePart(
        "batch",
        (
            FakeRole("manager", "control", (9618,)),
            FakeRole("access", "members", (9618,)),
            FakeRole("execute", "members"),
        ),
    ),
    FakePart("overlay", (FakeRole("controller", "control"),)),
    FakePart("tokens", (FakeRole("credmon", "members", (), "batch.access"), FakeRole("mytoken", "control"))),
    FakePart("storage", (FakeRole("server", "members", (1094, 8443)), FakeRole("client", "control"))),
    FakePart("software", (FakeRole("runtime", "members"), FakeRole("build", "control"))),
    FakePart("bridge", (FakeRole("gate", "members", (8443,)),), Bridge),
)


@pytest.fixture
def catalog() -> Mapping[str, PartSpec]:
    return {part.name: part for part in PARTS}
