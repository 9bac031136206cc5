"""`https://` for fsspec, and so for uproot, dask and pandas, with the bearer's token: nothing to do for who has one in a file.

    bearer.py --register | --registered

Alone in its file: it is copied, as `farmlet_bearer`, into the Python that members use, and registered there with fsspec (entry
point `fsspec.specs`) in place of its own `https`. The token goes to the facility's storage elements and to nobody else, also
not after a redirect; it is looked for anew for each request, since it is renewed meanwhile (WLCG Bearer Token Discovery 1.0).
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, ClientSession
from fsspec.implementations.http import HTTPFileSystem

GUIDE = "/etc/farmlet/storage.json"  # on nodes; jobs have it beside the certificates that they are told of
MODULE = "farmlet_bearer"
ENTRY = f"[fsspec.specs]\nhttps = {MODULE}:Bearer\n"
METADATA = "Metadata-Version: 2.1\nName: farmlet-bearer\nVersion: 1\n"


class Bearer(HTTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's own, but for the token."""

    def __init__(self, *args: Any, get_client: Any = None, **options: Any) -> None:
        super().__init__(*args, get_client=get_client or make_client, **options)


async def make_client(*, middlewares: Sequence[ClientMiddlewareType] = (), **options: Any) -> ClientSession:
    return ClientSession(middlewares=(*middlewares, add_token), **options)  # ours last: it sees what the caller's added


async def add_token(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """The middleware of each request, one after a redirect included. A header that the caller gave stands."""
    ours = request.url.scheme == "https" and (request.url.host, request.url.port) in find_elements()
    if ours and "Authorization" not in request.headers and (token := find_token()):
        request.headers["Authorization"] = f"Bearer {token}"
    return await handler(request)


def find_elements() -> set[tuple[str | None, int]]:
    """Host and port of each storage element of the facility; none where no list is found."""
    guides = [Path(GUIDE)]
    if (beside := Path(os.environ.get("X509_CERT_DIR", ""))).is_absolute():  # a list in the working directory is anybody's
        guides.append(beside.parent / "storage.json")
    for path in guides:
        try:
            rows = list(json.loads(path.read_text())["elements"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return {place for row in rows if (place := find_place(row))}
    return set()


def find_place(row: Any) -> tuple[str | None, int] | None:
    """Host and port of one row of the list; a row that cannot be read costs no other element its token."""
    try:
        found = urlsplit(row["url"])
        return (found.hostname, found.port or 443) if found.scheme == "https" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def find_token() -> str:
    """The bearer's token; "" if there is none."""
    if token := os.environ.get("BEARER_TOKEN", "").strip() or read(os.environ.get("BEARER_TOKEN_FILE", "")):
        return token
    for folder in filter(None, (os.environ.get("XDG_RUNTIME_DIR"), "/tmp")):
        path = f"{folder}/bt_u{os.getuid()}"
        if is_own(path) and (token := read(path)):
            return token
    return ""


def read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""


def is_own(path: str) -> bool:
    """Whether a file is ours, and no link: in /tmp others could put a token of theirs, or a pipe that nobody writes to."""
    try:
        return os.lstat(path).st_uid == os.getuid()
    except OSError:
        return False


def list_files() -> dict[Path, str]:
    """What `register` writes: the module, and what tells Python's import machinery of its entry point."""
    site = Path(sysconfig.get_path("purelib"))
    info = site / f"{MODULE}-1.dist-info"
    return {site / f"{MODULE}.py": Path(__file__).read_text(), info / "METADATA": METADATA, info / "entry_points.txt": ENTRY}


def main() -> int:
    files = list_files()
    if sys.argv[1:] == ["--register"]:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    elif sys.argv[1:] != ["--registered"]:
        print(__doc__, file=sys.stderr)
        return 2
    return 0 if all(path.is_file() and path.read_text() == text for path, text in files.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
