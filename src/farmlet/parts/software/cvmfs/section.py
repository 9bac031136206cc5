"""`software: {cvmfs: …}` of the facility file.

The client's settings are read by a shell, so that nothing is let in that a shell would take for more than a word in quotes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from farmlet.facility.fields import Memory, checked, fault
from farmlet.facility.names import check_port
from farmlet.parts.repositories import name_suffix
from farmlet.parts.vendor import Source

DIRECT = "DIRECT"
GIB = 1 << 30
LABEL = "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"{LABEL}(\.{LABEL})+")
HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-f:]+\])"
PROXY = re.compile(rf"http://{HOST}:[0-9]{{1,5}}")
SERVER = re.compile(rf"https?://{HOST}(:[0-9]{{1,5}})?(/[A-Za-z0-9._~@-]+)+")
STEP = re.compile("[A-Za-z0-9_.+-]+")
KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n?")


def check_name(text: str) -> str | None:
    return None if len(text) <= 200 and NAME.fullmatch(text) else f"{text!r} is no repository's name"


def check_proxy(text: str) -> str | None:
    if text == DIRECT or all(PROXY.fullmatch(one) and not check_port(one) for one in text.split("|")):
        return None
    return f"{text!r} is no proxy"


def check_server(text: str) -> str | None:
    if not SERVER.fullmatch(text) or check_port(text):
        return f"{text!r} is no server's URL"
    return None if "@fqrn@" in text else f"{text} is one repository's, not the domain's"


def check_path(text: str) -> str | None:
    steps = text.split("/")
    return None if all(map(STEP.fullmatch, steps)) and not {".", ".."} & set(steps) else f"{text!r} is no path in a repository"


def check_keys(text: str) -> str:
    if not re.fullmatch(f"({KEY.pattern})+", text):
        raise ValueError("is the text of public keys, from -----BEGIN PUBLIC KEY----- on")
    return text


Repository = Annotated[str, checked(check_name, "its full name, like sft.cern.ch")]
Proxy = Annotated[
    str, checked(check_proxy, "like http://squid.example.org:3128; several that share the load with | between them")
]
Server = Annotated[str, checked(check_server, "like http://s1.example.org/cvmfs/@fqrn@")]
Path = Annotated[str, checked(check_path, "from the repository's top, like setup/README")]


class Domain(BaseModel):
    """Repositories of your own, or of whom the client's package does not know. `servers`: where they are asked for, the first
    that answers; `@fqrn@` stands for the repository. `keys`: the public keys of their publishers (PEM), one after another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: tuple[Server, ...]
    keys: Annotated[str, AfterValidator(check_keys)]

    @field_validator("servers")
    @classmethod
    def _need_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise fault("names no server", "like http://s1.example.org/cvmfs/@fqrn@")
        return value


class Cvmfs(BaseModel):
    """CVMFS repositories that members find below `/cvmfs` on hosts that run `software.client`, and that drones look for.

    `proxies`: web proxies in the order in which they are tried, each a URL or several with `|`; `DIRECT` at the end goes
    without one. `quota`: how much each host's cache may hold, in `/var/lib/cvmfs`; a fifth more has to fit on that disk.
    `domains`: by domain (a repository's name without its first word), what the client's package does not say. `source`: where its
    packages come from; without it from where the host's apt does. `files`: by repository, a small file in it that the check
    reads; without it the first that it finds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repositories: tuple[Repository, ...]
    proxies: Annotated[tuple[Proxy, ...], Field(validate_default=True)] = ()
    quota: Memory = 4 * GIB
    domains: Mapping[Repository, Domain] = {}
    source: Source | None = None
    files: Mapping[Repository, Path] = {}

    @model_validator(mode="before")
    @classmethod
    def _need_mapping(cls, value: object) -> object:
        if isinstance(value, list | str):
            raise fault(
                "is a mapping", 'write `cvmfs: {repositories: [sft.cern.ch], proxies: ["http://squid.example.org:3128"]}`'
            )
        return value

    @field_validator("repositories")
    @classmethod
    def _check_repositories(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise fault("names no repository", "leave `cvmfs` out, or name one, like sft.cern.ch")
        if twice := sorted(name for name, count in Counter(map(name_suffix, value)).items() if count > 1):
            raise fault(f"the same repository twice, or two that slots would call the same: {', '.join(twice)}")
        return value

    @field_validator("proxies")
    @classmethod
    def _need_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            hint = 'name your site\'s: `proxies: ["http://squid.example.org:3128"]`; a few hosts may do with `[DIRECT]`'
            raise fault("is missing, and the client mounts nothing without", hint)
        if DIRECT in value[:-1]:
            raise fault(f"{DIRECT} always answers, so that what comes after it is never asked", f"put {DIRECT} last")
        return value

    @field_validator("quota")
    @classmethod
    def _check_quota(cls, value: int) -> int:
        if value < GIB:
            raise fault("is less than 1G: a file larger than the cache cannot be read", "4G is the client's own default")
        return value

    @model_validator(mode="after")
    def _check_names(self) -> Cvmfs:
        domains = {name.partition(".")[2] for name in self.repositories}  # as the client has them
        if odd := sorted(set(self.domains) - domains):
            raise fault(f"no repository is of the domain {', '.join(odd)}", f"domains of yours: {', '.join(sorted(domains))}")
        if odd := sorted(set(self.files) - set(self.repositories)):
            raise fault(f"`files` names {', '.join(odd)}, which is none of the repositories")
        return self
