"""Whether the CVMFS client works. Its own `chksetup` and `probe` are content with an offline client and a dead proxy."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from farmlet.parts.software.cvmfs.stat import read_stat
from farmlet.runtime.checks import TIMEOUT, Failed, check_unit

DAYS = 3  # fewer days of the whitelist than this are told
HOUR = 3600
WHITELIST = 1 << 16  # bytes
LOOK = "farmlet.parts.software.cvmfs.look"
END = re.compile(rb"^E([0-9]{14})$", re.MULTILINE)

# processes that hang in a repository, by its folder: a system call that waits there cannot be ended
stuck: dict[str, subprocess.Popen[str]] = {}


def check_client(cache: str, quota: int, units: Sequence[str]) -> str:
    """The client is installed, waits at each repository, and its disk is larger than its cache may become."""
    if not shutil.which("cvmfs_config"):
        raise Failed("the client is not installed: no cvmfs_config")
    for unit in units:
        check_unit(unit)
    try:
        size = shutil.disk_usage(cache).total
    except OSError as error:
        raise Failed(f"{cache}: {error.strerror}") from error
    told = f"a cache of up to {quota >> 20} MiB on a disk of {size >> 20} MiB"
    if size * 5 < quota * 6:
        raise Failed(f"{told}, which has to be a fifth larger: reading will fail once it is full; lower software.cvmfs.quota")
    return told


def check_repository(root: str, proxies: Sequence[str], file: str = "") -> str:
    """A small file can be read in time, the client is online, by a proxy of the facility file, and the signature lasts."""
    start = time.monotonic()
    found = look(root, file)
    took = time.monotonic() - start
    stat = read_stat(Path(root).name)
    host, proxy = stat.get("HOST", ""), stat.get("PROXY", "")
    if stat["ONLINE"] != "1":
        raise Failed(f"offline: {host} does not answer through {proxy}; only what is in the cache can be read")
    check_proxy(proxy, proxies)
    left = (read_end(host, proxy, int(time.time() // HOUR)) - time.time()) / 86400
    if left < DAYS:
        state = f"ends in {left:.1f} days" if left > 0 else "has ended"
        raise Failed(f"the whitelist {state}: its publisher has to sign it again, or nothing can be mounted any more")
    read = f"{found['bytes']} bytes of {found['file']} in {took:.2f} s"
    return f"revision {found['revision']}, {read}, through {proxy}, whitelist for {left:.0f} days"


def look(root: str, file: str, seconds: float = TIMEOUT) -> dict[str, Any]:
    """What `look` finds in its process. Raises Failed, also while the one before it hangs still."""
    if root in stuck and stuck[root].poll() is None:
        raise Failed(f"{root} hangs: a read from before has not ended yet")
    stuck.pop(root, None)
    words = [sys.executable, "-I", "-m", LOOK, root, file]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        process.kill()  # whoever waited for its end might wait for ever
        stuck[root] = process
        raise Failed(f"{root} hangs: nothing could be read within {seconds:g} s") from error
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise Failed(f"{root}: looking ended with {process.returncode}") from error
    if "fault" in found:
        dead = f"; its client died: umount -l {root}, and the next look mounts it again" if "endpoint" in found["fault"] else ""
        raise Failed(f"{found['fault']}{dead}")
    return found


def check_proxy(used: str, proxies: Sequence[str]) -> None:
    """Raises Failed if the proxy in use is none of those. Going without is right only where nothing else is said."""
    if used == "DIRECT":
        if list(proxies) != [used]:
            raise Failed(f"goes past its proxies, which do not answer: {', '.join(one for one in proxies if one != used)}")
    elif not any(is_same(used, one) for one in proxies):
        raise Failed(f"goes through {used}, which is no proxy of the facility file: {', '.join(proxies)}")


def is_same(used: str, named: str) -> bool:
    """The client tells a proxy by its address, which may be one of several of its name."""
    one, other = urlsplit(used), urlsplit(named)
    try:
        if one.port != other.port or not one.hostname or not other.hostname:
            return False
    except ValueError:  # no port
        return False
    return one.hostname == other.hostname or one.hostname in find_addresses(other.hostname)


def find_addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


@lru_cache(maxsize=256)
def read_end(host: str, proxy: str, hour: int) -> float:
    """The end of the whitelist at `host`, a repository's URL, in seconds since 1970; asked for once an `hour`. Raises Failed."""
    url = f"{host}/.cvmfswhitelist"
    if urlsplit(url).scheme not in ("http", "https"):
        raise Failed(f"the client names no server: {host!r}")
    handler = urllib.request.ProxyHandler({} if proxy == "DIRECT" else {"http": proxy, "https": proxy})
    try:
        with urllib.request.build_opener(handler).open(url, timeout=TIMEOUT) as answer:
            text = answer.read(WHITELIST)
    except (OSError, ValueError, HTTPException) as error:
        raise Failed(f"{url}: {error}") from error
    try:
        end = END.findall(text)[0].decode()
        return datetime.strptime(end, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except (IndexError, ValueError) as error:
        raise Failed(f"{url} is no whitelist") from error
