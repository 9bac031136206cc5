"""Trees: folders of a node that take long to build, such as a virtual environment or the root of a software image.

Each has a key of its own, made of what it is built from. An image of a node says in a label which trees it holds, and the next
image that wants one of them takes it over instead of building it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from farmlet.engine.sandbox import docker as engine
from farmlet.errors import FarmletError
from farmlet.parts.resources import Wanted

if TYPE_CHECKING:
    from docker import DockerClient

LABEL = "farmlet.trees"


def list_trees(install: Sequence[Wanted], base: str) -> dict[str, str]:
    """The trees that `install` fills on the blank node `base` (its key): key → path."""
    resources = [resource for wanted in install for resource in wanted.resources if resource.tree]
    return {find_key(resource.digest, base): resource.tree for resource in resources}


def find_key(digest: str, base: str) -> str:
    return hashlib.sha256(f"{base}{digest}".encode()).hexdigest()[:16]


def label(trees: Mapping[str, str]) -> str:
    """The change, in Dockerfile's words, that makes an image say which trees it holds."""
    text = json.dumps(dict(trees), separators=(",", ":"))
    return f"LABEL {LABEL}={json.dumps(text)}"


def take(client: DockerClient, repository: str, container: str, wanted: Mapping[str, str]) -> set[str]:
    """Copy those of the `wanted` trees (key → path) that an image of `repository` holds into a running container: their keys."""
    held: dict[str, str] = {}
    for image in client.images.list(name=repository):
        held |= dict.fromkeys(json.loads(image.labels.get(LABEL, "{}")), image.id)
    taken = {key for key in wanted if key in held}
    for key in taken:
        _copy(client, held[key], container, wanted[key])
    return taken


def _copy(client: DockerClient, image: str, container: str, path: str) -> None:
    from docker.errors import APIError

    parent = str(PurePosixPath(path).parent)
    target = client.containers.get(container)
    try:
        # never started; by its labels a purge finds it when this process is killed
        labels = {name: target.labels[name] for name in (engine.LABEL, engine.FOLDER_LABEL)}
        source = client.containers.create(image, ["true"], labels=labels)
        try:
            stream, _ = source.get_archive(path)
            target.exec_run(["mkdir", "-p", parent])
            target.put_archive(parent, stream)
        finally:
            source.remove(v=True)
    except APIError as error:  # the disk is full, or the image has just been removed
        what = f"{path} cannot be copied from image {image}: {error.explanation}"
        raise FarmletError(f"build node {container}", what, "docker system df; then repeat") from error
