"""A real registry (Debian's docker-registry) on loopback, and images for it that are made by hand, good ones and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waiting import find_port

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
TYPES = {
    "oci": (f"{OCI}.manifest.v1+json", f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+", f"{OCI}.index.v1+json"),
    "docker": (
        f"{DOCKER}.distribution.manifest.v2+json",
        f"{DOCKER}.container.image.v1+json",
        f"{DOCKER}.image.rootfs.diff.tar.",
        f"{DOCKER}.distribution.manifest.list.v2+json",
    ),
}
HERE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def entry(
    name: str, data: str = "", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer."""
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.linkname, info.size = mode, kind, link, len(data.encode())
    return info, data.encode()


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, mode=mode, kind=tarfile.DIRTYPE)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, mode=0o777, kind=tarfile.SYMTYPE, link=target)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def programs(*names: str) -> bytes:
    """A layer with these programs of this host, their libraries, and what it takes to start them."""
    found = {}
    for name in names:
        path = Path(shutil.which(name) or name)
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        libraries = re.findall(r"(/\S+) \(0x", said)
        found |= {f"bin/{name}": path.read_bytes()} | {one.lstrip("/"): Path(one).read_bytes() for one in libraries}
    members = []
    for name, data in found.items():
        info = tarfile.TarInfo(name)
        info.mode, info.size = 0o755, len(data)
        members.append((info, data))
    return layer(*members)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pack(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, mtime=0)
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


class Registry:
    def __init__(self, port: int, store: Path) -> None:
        self.host, self.store = f"127.0.0.1:{port}", store

    def call(self, method: str, path: str, data: bytes | None = None, kind: str = "application/octet-stream") -> Any:
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers

    def blob(self, repository: str, data: bytes) -> str:
        place = self.call("POST", f"/v2/{repository}/blobs/uploads/", b"")["Location"]
        self.call("PUT", f"{place}&digest={digest(data)}", data)
        return digest(data)

    def manifest(self, repository: str, reference: str, data: Mapping[str, Any]) -> str:
        text = json.dumps(data).encode()
        self.call("PUT", f"/v2/{repository}/manifests/{reference or digest(text)}", text, data["mediaType"])
        return digest(text)

    def push(
        self,
        repository: str,
        tag: str,
        *layers: bytes,
        kind: str = "oci",
        how: str | Sequence[str] = "gzip",
        config: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """An image of these tar archives; the digest of its manifest. `more`: what its configuration says besides."""
        hows = [how] * len(layers) if isinstance(how, str) else how
        types = TYPES[kind]
        told = {"architecture": HERE, "os": "linux", "config": dict(config or {})}
        told |= {"rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]}} | more
        packed = [pack(one, name) for one, name in zip(layers, hows, strict=True)]
        text = json.dumps(told).encode()
        data = {
            "schemaVersion": 2,
            "mediaType": types[0],
            "config": {"mediaType": types[1], "digest": self.blob(repository, text), "size": len(text)},
            "layers": [
                {"mediaType": f"{types[2]}{name}", "digest": self.blob(repository, one), "size": len(one)}
                for one, name in zip(packed, hows, strict=True)
            ],
        }
        return self.manifest(repository, tag, data)

    def index(self, repository: str, tag: str, manifests: Mapping[str, str], kind: str = "oci") -> str:
        """An index of manifests by architecture → digest."""
        rows = [
            {
                "mediaType": TYPES[kind][0],
                "digest": one,
                "size": self.find(one).stat().st_size,
                "platform": {"architecture": name, "os": "linux"},
            }
            for name, one in manifests.items()
        ]
        return self.manifest(repository, tag, {"schemaVersion": 2, "mediaType": TYPES[kind][3], "manifests": rows})

    def find(self, name: str) -> Path:
        """The file in which the registry keeps a blob."""
        value = name.removeprefix("sha256:")
        return self.store / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


@contextmanager
def serve(folder: Path) -> Iterator[Registry]:
    port = find_port()
    store = folder / "store"
    told = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(store)}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "log": {"accesslog": {"disabled": True}, "level": "error"},
    }
    (folder / "registry.json").write_text(json.dumps(told))
    process = subprocess.Popen(
        ["docker-registry", "serve", folder / "registry.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    registry = Registry(port, store)
    try:
        for _ in range(200):
            try:
                registry.call("GET", "/v2/")
                break
            except OSError:
                time.sleep(0.05)
        yield registry
    finally:
        process.terminate()
        process.wait(10)
