"""From an image's blobs to a root file system that members can be shown: umoci applies the layers, the rest is seen to here.

umoci does it as a user that owns nothing, with the ways of links kept within the image, whiteouts and hard links as the OCI
specification has them, and the content of each layer compared with the configuration's digests. Afterwards all belongs to root,
nothing has the rights of its owner, devices are gone, and every file that the layers name is there, and no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked import layers
from farmlet.parts.software.unpacked.layers import Told, show
from farmlet.parts.software.unpacked.registry import Layer, Manifest, name_blob
from farmlet.parts.software.unpacked.tools import Tools
from farmlet.runtime.files import rename

SPARE = 1 << 30  # bytes of disk that stay free
MEMORY = 2 << 30
PYTHON = "/usr/bin/python3"
# what Apptainer mounts something on, and the files that it replaces by the node's own
FOLDERS = ("cvmfs", "dev", "etc", "home", "proc", "root", "srv", "sys", "tmp", "var", "var/tmp")
CATALOG = ".cvmfscatalog"  # in a CVMFS repository: what is below has a catalogue of its own
FILES = ("etc/hosts", "etc/resolv.conf", CATALOG)
ENVIRONMENT = "10-docker2singularity.sh"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Unpacked:
    """A root file system. `size`: bytes of its files; `hidden`: what in it only root can read; `devices`: how many are left
    out; `shell`: whether it has one."""

    root: Path
    size: int
    hidden: tuple[str, ...]
    devices: int
    shell: bool


def unpack(tools: Tools, manifest: Manifest, config: Mapping[str, Any], blobs: Path) -> Unpacked:
    """Raises FarmletError. `blobs`: a folder with all of the image's, by HEX."""
    contents = config["rootfs"]["diff_ids"]
    opened = [_open(tools, layer, str(content), blobs) for layer, content in zip(manifest.layers, contents, strict=True)]
    told = scan(tools, [blobs / name_blob(layer.digest) for layer in opened])
    need, free = told.size + SPARE, shutil.disk_usage(tools.work).free
    if free < need:
        raise FarmletError("the disk", f"has {free >> 20} MiB free, and it needs {need >> 20} MiB", "df -h /cvmfs")
    lay(tools.work / "oci", manifest.config, opened, blobs)
    root = tools.work / "root"
    tools.run(["umoci", "raw", "unpack", "--rootless", "--image", f"{tools.work}/oci:image", str(root)], "its layers")
    hidden, devices = settle(root, told)
    dress(root, config)
    return Unpacked(root, told.size, hidden, devices, bool({"bin/sh", "usr/bin/sh"} & set(told.paths)))


def _open(tools: Tools, layer: Layer, content: str, blobs: Path) -> Layer:
    """The same layer, without zstd, which umoci of Debian 12 and 13 cannot read."""
    if layer.packing != "zstd":
        return layer
    path = blobs / "opened"
    path.unlink(missing_ok=True)
    tools.run(
        ["zstd", "-d", "-q", "-f", "--no-sparse", str(blobs / name_blob(layer.digest)), "-o", str(path)], "its layers", MEMORY
    )
    with path.open("rb") as stream:
        found = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    if found != content:
        raise FarmletError("its layers", "have not the content that its configuration names", "tell who made the image")
    rename(path, blobs / name_blob(found))
    return Layer(found, 0, "tar")


def scan(tools: Tools, paths: Iterable[Path]) -> Told:
    """What is in the layers, read by a process without rights."""
    said = tools.run([PYTHON, "-I", layers.__file__, str(tools.most), *map(str, paths)], "its layers", MEMORY)
    return Told(**json.loads(said))


def lay(place: Path, config: str, opened: Iterable[Layer], blobs: Path) -> None:
    """An OCI image layout (`oci-layout`, `index.json`) of these blobs, which move there."""
    folder = place / "blobs" / "sha256"
    folder.mkdir(parents=True)

    def describe(kind: str, digest: str) -> dict[str, Any]:
        target = folder / name_blob(digest)
        if not target.exists():
            rename(blobs / name_blob(digest), target)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": target.stat().st_size}

    packed = {"tar": "layer.v1.tar", "gzip": "layer.v1.tar+gzip"}
    manifest = {
        "schemaVersion": 2,
        "config": describe("config.v1+json", config),
        "layers": [describe(packed[layer.packing], layer.digest) for layer in opened],
    }
    text = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    (folder / name_blob(digest)).write_bytes(text)
    row = describe("manifest.v1+json", digest) | {"annotations": {"org.opencontainers.image.ref.name": "image"}}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def settle(root: Path, told: Told) -> tuple[tuple[str, ...], int]:
    """Give all of it to root, without rights of its own, and compare it with what the layers name. Nobody else writes there any
    more. What only root can read in it, and how many devices were left out."""
    devices, found, hidden = set(told.devices), set(), []
    wanted = set(told.paths) - devices
    os.chown(root, 0, 0)
    root.chmod(0o755)
    for path in _walk(root):
        mode, name = path.lstat().st_mode, str(path.relative_to(root))
        if name in devices and not stat.S_ISDIR(mode):
            path.unlink()
            continue
        os.lchown(path, 0, 0)
        if stat.S_ISDIR(mode):
            path.chmod(mode & 0o1777)
        elif stat.S_ISREG(mode):
            path.chmod(mode & 0o777)
        elif not stat.S_ISLNK(mode):
            raise FarmletError(
                "its layers", f"have a device file in them, which no image may: {show(name)}", "tell who made the image"
            )
        found.add(name)
        asked = 0o005 if stat.S_ISDIR(mode) else 0o004
        if not stat.S_ISLNK(mode) and mode & asked != asked:
            hidden.append(name)
    if wanted != found:
        lost, more = sorted(wanted - found), sorted(found - wanted)
        what = f"{len(lost)} of {len(wanted)} files are missing, {len(more)} are too many: {show((lost + more)[0])}"
        raise FarmletError("what was unpacked", what, "")
    return tuple(sorted(hidden)), len(told.devices)


def _walk(root: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *files))


def dress(root: Path, config: Mapping[str, Any]) -> None:
    """Add what Apptainer wants: places to mount on, and the image's variables, which are defaults, but for PATH.

    Nothing is written by way of a link of the image's.
    """
    for name in FOLDERS:
        if _is_folder((root / name).parent) and not os.path.lexists(root / name):
            (root / name).mkdir()
            (root / name).chmod(0o1777 if name.endswith("tmp") else 0o755)
    for name in FILES:
        if _is_folder((root / name).parent) and not os.path.lexists(root / name):
            (root / name).touch(0o644)
    if not os.path.lexists(root / ".singularity.d"):
        place = root / ".singularity.d" / "env"
        place.mkdir(parents=True)
        (place / ENVIRONMENT).write_text(render(config), errors="surrogateescape")


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode) if os.path.lexists(path) else False


def render(config: Mapping[str, Any]) -> str:
    """The image's variables as a script that Apptainer sources."""
    inner = config.get("config")
    rows = inner.get("Env") if isinstance(inner, dict) else None
    lines = ["#!/bin/sh"]
    for row in rows if isinstance(rows, list) else []:
        name, _, value = row.partition("=") if isinstance(row, str) else ("", "", "")
        if VARIABLE.fullmatch(name) and "\0" not in value:
            setting = f"export {name}={shlex.quote(value)}"
            lines.append(setting if name == "PATH" else f'if [ -z "${{{name}:-}}" ]; then {setting}; fi')
    return "\n".join(lines) + "\n"
