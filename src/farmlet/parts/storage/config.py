"""`storage:` of the facility file: elements that are not ours. Who may read and write what stands with the groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import permutations
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from farmlet.facility.fields import Certificates, Memory, Pattern
from farmlet.facility.names import MEMBER, check_port
from farmlet.facility.paths import normalise
from farmlet.facility.rights import USER

HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"


class Element(BaseModel):
    """A storage element that is not ours. `url`: its WebDAV endpoint, https://HOST[:PORT].

    `prefix`: where the facility's paths begin in its name space: our /data is PREFIX/data there. `authorise`: whether the element
    authorises by the scopes or by the groups of our tokens; with an external issuer by groups only. `ca`: certificates (PEM) of
    its authority, for all nodes and jobs; XRootD's clients and jobs do not use the system's authorities.
    `kind`: its software, for the page for its admin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    kind: Literal["dcache", "xrootd", "webdav"]
    url: str
    prefix: str = Field(default="/", pattern=r"^(/|(/[A-Za-z0-9_~+-][A-Za-z0-9._~+-]*)+)$")
    authorise: Literal["scopes", "groups"] = "scopes"
    ca: Certificates = ""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        plain = value.rstrip("/")
        if not re.fullmatch(rf"https://{HOST}", plain):
            raise ValueError("is like https://se.example.org:1094; a path in its name space is `prefix`")
        if wrong := check_port(plain):
            raise ValueError(wrong)
        return plain.lower()

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def audience(self) -> str:
        """What a token for this element alone names as its audience."""
        return self.url

    @property
    def base(self) -> str:
        """The URL at which the facility's paths begin, without a slash at its end."""
        return self.url + self.prefix.rstrip("/")


def lies_within(path: str, other: str) -> bool:
    """Whether there are members for whom one pattern of a limit is a path below the other's, step by step."""
    steps, above = path.split("/"), other.split("/")
    return len(steps) > len(above) and all(map(may_be_one, steps, above))


def may_be_one(step: str, other: str) -> bool:
    """Whether two steps of patterns are the same for some members, who need not be one: `ada` and `{user}`."""
    if USER not in step + other:
        return step == other
    if USER in step and USER in other:  # what is between the ends may be a long name
        heads, tails = (sorted(ends, key=len) for ends in zip(_ends(step), _ends(other), strict=True))
        return heads[1].startswith(heads[0]) and tails[1].endswith(tails[0])
    pattern, name = (step, other) if USER in step else (other, step)
    return re.fullmatch(re.escape(pattern).replace(re.escape(USER), MEMBER.pattern), name) is not None


def _ends(step: str) -> tuple[str, str]:
    """What stands before the first `{user}` and after the last."""
    return step.partition(USER)[0], step.rpartition(USER)[2]


class Storage(BaseModel):
    """`elements`: storage elements that are not ours, which members use with the same tokens and paths.

    `limits`: the largest size of all files below a path, on each storage node; with `{user}`, for each member who may write
    there. A limit for one member's path overrides the one with `{user}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: tuple[Element, ...] = ()
    limits: Mapping[Pattern, Memory] = {}

    @field_validator("limits")
    @classmethod
    def _check_limits(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        paths = [path for pattern in value if (path := normalise(pattern)) is not None]
        if "/" in paths:
            raise ValueError("/ is the whole disk, which has its own size")
        if twice := sorted(path for path, count in Counter(paths).items() if count > 1):
            raise ValueError(f"the same path twice: {', '.join(twice)}")
        for path, other in permutations(paths, 2):
            if lies_within(path, other):
                raise ValueError(f"{path} lies within {other}, which has a limit: name one of them")
            if USER in path and USER in other and lies_within(f"{path}/", other):
                raise ValueError(f"{path} and {other} may be the same path: name one of them")
        return dict(zip(paths, value.values(), strict=True))

    @field_validator("elements")
    @classmethod
    def _check_elements(cls, value: tuple[Element, ...], info: ValidationInfo) -> tuple[Element, ...]:
        machines = (info.context or {}).get("machines", ())
        if taken := sorted(one.name for one in value if one.name in machines):
            raise ValueError(f"a node or site has this name too: {', '.join(taken)}")
        for what, found in (("name", [one.name for one in value]), ("place", [one.base for one in value])):
            if twice := sorted(text for text, count in Counter(found).items() if count > 1):
                raise ValueError(f"the same {what} twice: {', '.join(twice)}")
        return value
