"""The wish list, in the format of CVMFS' converter (DUCC): which images of registries are to be there, unpacked.

`version` (1), `cvmfs_repo` and `input`, a list of `[SCHEME://]REGISTRY/REPOSITORY[:TAG][@DIGEST]`; a `*` in a tag stands for any
text. `user` and `output_format`, which are about images that we do not make, and keys that DUCC does not know are let be, as it
does. A line that is no image costs that line alone: DUCC gives up the whole list there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from farmlet.errors import InputError
from farmlet.facility.document import read
from farmlet.parts.software.unpacked.wish import DIGEST, Fault, Wish, show

LARGEST, MOST = 256 << 10, 500  # characters of the file, images in it
# https://github.com/distribution/reference: what names are made of
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
PIECE = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"(?=.{{1,255}}$){PIECE}(/{PIECE})*")
TAG = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.*-]{0,127}")
HINT = "like `docker.io/library/debian:13`"


@dataclass(frozen=True)
class Wishes:
    found: tuple[Wish, ...] = ()
    faults: tuple[Fault, ...] = ()


def parse(text: str, where: str, repository: str) -> Wishes:
    """What the list `where` asks for. `repository`: the CVMFS repository it must be for.

    Raises Errors or InputError if the whole is no wish list.
    """
    if len(text) > LARGEST:
        raise InputError(where, f"has more than {LARGEST} characters", "")
    document = read(text, where)
    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get("input"), list):
        raise InputError(where, "has no list `input`", "DUCC's format: version, user, cvmfs_repo, output_format, input")
    for key, wanted in (("version", 1), ("cvmfs_repo", repository)):
        if data.get(key) != wanted:
            raise InputError(f"{where}:{document.line((key,))}", f"`{key}` is not {wanted}", f"{key}: {wanted}")
    if len(data["input"]) > MOST:
        raise InputError(f"{where}:{document.line(('input',))}", f"asks for more than {MOST} images", "")
    found: dict[str, Wish] = {}
    faults = []
    for line, item in sorted(_number(data["input"], document.lines), key=lambda one: one[0]):
        try:
            wish = check(item, line)
            if wish.name in found:
                raise ValueError(f"is in line {found[wish.name].line} already")
            found[wish.name] = wish
        except ValueError as error:
            faults.append(Fault(line, show(item), str(error)))
    return Wishes(tuple(found.values()), tuple(faults))


def _number(items: list[Any], lines: Any) -> Iterator[tuple[int, Any]]:
    for number, item in enumerate(items):
        yield lines.get(("input", number), 1), item


def check(item: Any, line: int = 0) -> Wish:
    """The image that an item of the list names. Raises ValueError in words."""
    if not isinstance(item, str):
        raise ValueError(f"is no name of an image, {HINT}; quotes may help")
    scheme, found, rest = item.strip().rpartition("://")
    if found and scheme not in ("https", "http"):
        raise ValueError("begins with something else than https://")
    rest, _, digest = rest.partition("@")
    registry, _, rest = rest.partition("/")
    repository, _, tag = rest.partition(":")
    if not (HOST.fullmatch(registry) and (registry == "localhost" or set(registry) & {".", ":"})):
        raise ValueError(f"does not begin with a registry, {HINT}")
    if not REPOSITORY.fullmatch(repository):
        raise ValueError(f"names no repository of a registry (small letters, digits and . _ - between them), {HINT}")
    if not tag and not digest:
        raise ValueError(f"has no tag and no digest, {HINT}")
    if (tag or rest.endswith(":")) and not TAG.fullmatch(tag):
        raise ValueError("has no right tag: letters, digits and . _ -, at most 128")
    if (digest or item.strip().endswith("@")) and not DIGEST.fullmatch(digest):
        raise ValueError("has no right digest: sha256: and 64 digits of 0-9a-f")
    if digest and "*" in tag:
        raise ValueError("has a digest and a `*`; one image has one tag")
    if scheme == "http" and not digest and not registry.startswith(("127.0.0.1:", "localhost")):
        raise ValueError("goes without encryption, so that anybody on the way could change it: https://, or name its digest")
    return Wish(line, registry, repository, tag, digest, scheme == "http")
