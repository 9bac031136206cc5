"""Packages that Debian does not have: from where the host's apt knows them, or from a source that the facility file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from farmlet.facility.fields import Url
from farmlet.parts.resources import Command, File, Packages, Resource

SIGNER = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n[A-Za-z0-9+/=\n:. -]+-----END PGP PUBLIC KEY BLOCK-----\n?")
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")]


def check_signer(text: str) -> str:
    if not SIGNER.fullmatch(text):
        raise ValueError("is the text of a key, from -----BEGIN PGP PUBLIC KEY BLOCK----- on")
    return text


class Source(BaseModel):
    """Where apt gets packages from: their vendor's package source or your copy of it. `key`: who signs it (armoured)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url
    suite: Word
    components: tuple[Word, ...] = ("main",)
    key: Annotated[str, AfterValidator(check_signer)]


def install(package: str, source: Source | None, where: str) -> Sequence[Resource]:
    """The package; `where`: in the facility file, for who has to name its source there."""
    known = f"apt-cache show {package} > /dev/null 2>&1"
    unknown = f"apt on this host knows no package {package}: name where it comes from, {where}"
    path = f"/etc/apt/sources.list.d/farmlet-{package}.sources"
    return (
        *([File(path, write_source(source))] if source else []),
        Command(f"package lists for {package}", f"apt-get -qq update; {known} || {{ echo '{unknown}' >&2; exit 1; }}", known),
        Packages((package,)),
    )


def write_source(source: Source) -> str:
    """In apt's format deb822, in which a key's empty lines are dots."""
    key = "".join(f" {line or '.'}\n" for line in source.key.splitlines())
    words = {"Types": "deb", "URIs": source.url, "Suites": source.suite, "Components": " ".join(source.components)}
    # a suite that is a path has no components
    return "".join(f"{name}: {text}\n" for name, text in words.items() if text) + f"Signed-By:\n{key}"
