"""Images as registries hold them: which one a name means, and its parts, each of the digest that its manifest names.

skopeo speaks to the registry (distribution API v2, anonymous tokens, proxies). What it brings is named by digests that are
followed here from the name to the last byte: index → manifest → configuration and layers → their content (umoci does the last).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked.tools import Tools
from farmlet.parts.software.unpacked.wish import DIGEST, Wish

INDEXES = {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
MANIFESTS = {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
CONFIGS = {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le"}
TAGS, LARGEST, MOST = 50, 4 << 20, 200  # that a `*` may stand for; bytes of a manifest or configuration; layers


@dataclass(frozen=True)
class Layer:
    digest: str
    size: int
    packing: str  # tar, gzip or zstd


@dataclass(frozen=True)
class Manifest:
    """An image for this machine. `text`: as the registry has it, of this `digest`; `config`: the digest of its configuration."""

    digest: str
    text: bytes
    config: str
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Bytes that are to be fetched."""
        return sum(layer.size for layer in self.layers)


class Registry:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def expand(self, wish: Wish) -> list[str]:
        """The tags that a wish stands for, the last of them in the order of names if there are too many."""
        if "*" not in wish.tag:
            return [wish.tag]
        place = f"docker://{wish.registry}/{wish.repository}"
        said = _parse(self._skopeo(wish, ["list-tags", *self._speak(wish, "--tls-verify", "--no-creds"), place]), "its tags")
        tags = said.get("Tags")
        found = sorted(one for one in tags if isinstance(one, str)) if isinstance(tags, list) else []
        return [one for one in found if fnmatch.fnmatchcase(one, wish.tag.replace("[", "[[]"))][-TAGS:]

    def find(self, wish: Wish) -> Manifest:
        """The manifest that a wish (without `*`) means now. Raises FarmletError."""
        data, text = self._read(wish, wish.digest or f":{wish.tag}")
        if data.get("mediaType") in INDEXES or "manifests" in data:
            try:
                data, text = self._read(wish, _choose(data))
            except ValueError as error:
                raise FarmletError("its index", str(error), "") from error
        return check(data, text)

    def fetch(self, wish: Wish, manifest: Manifest, folder: Path) -> dict[str, Any]:
        """All its blobs as `folder`/HEX; the configuration. Raises FarmletError."""
        place = f"docker://{wish.registry}/{wish.repository}@{manifest.digest}"
        options = self._speak(wish, "--src-tls-verify", "--src-no-creds")
        self._skopeo(wish, ["copy", "--preserve-digests", *options, place, f"dir:{folder}"])
        text = (folder / name_blob(manifest.config)).read_bytes()
        if _digest(text) != manifest.config:
            raise FarmletError("its configuration", "has not the digest that its manifest names", "tell who runs the registry")
        config = _parse(text, "its configuration")
        check_config(config, manifest)
        return config

    def _read(self, wish: Wish, reference: str) -> tuple[dict[str, Any], bytes]:
        place = f"docker://{wish.registry}/{wish.repository}" + (reference if reference.startswith(":") else f"@{reference}")
        text = self._skopeo(wish, ["inspect", "--raw", *self._speak(wish, "--tls-verify", "--no-creds"), place])
        if not reference.startswith(":") and _digest(text) != reference:
            raise FarmletError("its manifest", f"has not the digest {reference}", "tell who runs the registry")
        return _parse(text, "its manifest"), text

    def _speak(self, wish: Wish, tls: str, anonymous: str) -> list[str]:
        return [f"{tls}=false", anonymous] if wish.plain else [anonymous]

    def _skopeo(self, wish: Wish, words: Sequence[str]) -> bytes:
        # whose images are to be trusted is what the list says, by name or digest
        return self._tools.run(["skopeo", "--insecure-policy", *words], wish.registry)


def _choose(index: Mapping[str, Any]) -> str:
    """The digest of the manifest for this machine. Raises FarmletError."""
    rows = index.get("manifests")
    wanted = ARCHITECTURES.get(platform.machine(), platform.machine())
    seen = []
    for row in rows if isinstance(rows, list) else []:
        place = row.get("platform") if isinstance(row, dict) else None
        if isinstance(place, dict):
            seen.append(f"{place.get('os')}/{place.get('architecture')}")
            if seen[-1] == f"linux/{wanted}":
                return _sha(row.get("digest"))
    raise FarmletError("its index", f"has nothing for linux/{wanted}, but {', '.join(seen[:8]) or 'nothing at all'}", "")


def check(data: Mapping[str, Any], text: bytes) -> Manifest:
    """Raises FarmletError for what is no image, or one of a kind that cannot be unpacked."""
    kind = data.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    if kind not in MANIFESTS or data.get("schemaVersion") != 2:
        raise FarmletError(
            "its manifest", f"is of a kind that is no image: {str(kind)[:80]}", "let it be pushed anew by a newer tool"
        )
    try:
        layers = tuple(_layer(row) for row in data["layers"])
        config = data["config"]
        if config["mediaType"] not in CONFIGS:
            raise FarmletError("its manifest", f"is no container image but {str(config['mediaType'])[:80]}", "")
        if not 0 < len(layers) <= MOST or int(config["size"]) > LARGEST:
            raise FarmletError("its manifest", f"has {len(layers)} layers, of at least 1 and at most {MOST}", "")
        return Manifest(_digest(text), text, _sha(config["digest"]), layers)
    except (KeyError, TypeError, ValueError) as error:
        raise FarmletError("its manifest", f"cannot be read: {error}", "") from error


def _layer(row: Mapping[str, Any]) -> Layer:
    packing = LAYERS.get(row["mediaType"])
    if packing is None:
        raise FarmletError("its manifest", f"has a layer of a kind that cannot be unpacked: {str(row['mediaType'])[:80]}", "")
    return Layer(_sha(row["digest"]), max(0, int(row["size"])), packing)


def check_config(config: Mapping[str, Any], manifest: Manifest) -> None:
    """That it is for this machine, and says of each layer what its content is. Raises FarmletError."""
    wanted, found = ARCHITECTURES.get(platform.machine(), platform.machine()), config.get("architecture")
    if found != wanted or config.get("os") != "linux":
        raise FarmletError("its configuration", f"is for {config.get('os')}/{str(found)[:40]}, and this is linux/{wanted}", "")
    root = config.get("rootfs")
    contents = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(contents, list) or len(contents) != len(manifest.layers):
        raise FarmletError("its configuration", "does not name the content of each layer", "")


def _parse(text: bytes, where: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise FarmletError(where, f"is larger than {LARGEST >> 20} MiB", "")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FarmletError(where, "is no JSON", "") from error
    if not isinstance(data, dict):
        raise FarmletError(where, "is no mapping", "")
    return data


def _sha(value: Any) -> str:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ValueError(f"no digest: {str(value)[:80]}")
    return value


def name_blob(digest: str) -> str:
    """The hexadecimal digits alone."""
    return digest.removeprefix("sha256:")


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"
