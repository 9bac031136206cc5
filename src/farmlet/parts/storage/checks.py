"""Whether storage is there, and closed to who bears no token. Standard library only."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from farmlet.runtime.checks import TIMEOUT, Failed, run

XRDCP = "/usr/bin/xrdcp"


def check_strangers(url: str, folder: str) -> str:
    """The element at `url` shows a certificate of an authority in `folder`, and refuses to list or take anything."""
    context = ssl.create_default_context(capath=folder)
    for method, path in (("GET", "/users/"), ("PUT", "/users/farmlet-check")):
        request = urllib.request.Request(url + path, data=b"" if method == "PUT" else None, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
                raise Failed(f"{method} {url}{path} without a token answers {answer.status}")
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403):
                raise Failed(f"{method} {url}{path} without a token answers {error.code}, not 403") from error
        except OSError as error:
            raise Failed(f"{url}: {getattr(error, 'reason', error)}") from error
    return f"{url} answers over TLS and refuses who bears no token"


def check_client(folder: str, names: Sequence[str]) -> str:
    """Every authority of `names` is in `folder` under its hash, where XRootD's client looks."""
    links = {path.resolve().name for path in Path(folder).glob("*.[0-9]")}
    if missing := sorted(set(names) - links):
        raise Failed(f"not hashed in {folder}: {', '.join(missing)}")
    return f"{read_version(XRDCP, Path(XRDCP).stat().st_mtime_ns)}, {len(links)} authorities in {folder}"


@lru_cache(maxsize=1)
def read_version(program: str, changed: int) -> str:
    """Asked once for each time that the program `changed`. Raises Failed."""
    return run(program, "--version").strip() or "xrdcp"
