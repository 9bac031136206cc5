"""The wheel of this very Farmlet, for the nodes: packed from the package as it is imported here, the same bytes each time.

No build back-end is needed, so an installed Farmlet can deploy itself as well as a checkout.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import farmlet

STAMP = (2025, 1, 1, 0, 0, 0)  # a fixed time: equal contents are equal wheels


@dataclass(frozen=True)
class Wheel:
    """`name` is the file's name, `data` its bytes, `digest` their sha256 (hex)."""

    name: str
    data: bytes
    digest: str


@cache
def pack() -> Wheel:
    """The wheel (PEP 427) of the running package."""
    dist = distribution("farmlet")
    info = f"farmlet-{dist.version}.dist-info"
    files = _package()
    files[f"{info}/METADATA"] = (dist.read_text("METADATA") or "").encode()
    files[f"{info}/entry_points.txt"] = (dist.read_text("entry_points.txt") or "").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: farmlet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, STAMP), data, zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    return Wheel(f"farmlet-{dist.version}-py3-none-any.whl", data, hashlib.sha256(data).hexdigest())


def _package() -> dict[str, bytes]:
    root = Path(farmlet.__file__).parent
    paths = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"farmlet/{path.relative_to(root)}": path.read_bytes() for path in paths}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
