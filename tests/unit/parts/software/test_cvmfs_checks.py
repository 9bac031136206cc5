"""The check of a CVMFS repository and its numbers, against a stand-in client that behaves as the real one was seen to: it answers
`cvmfs_config stat`, the folder has its extended attribute, and a server beyond a proxy has the whitelist."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from farmlet.parts.software.cvmfs import checks
from farmlet.parts.software.cvmfs.checks import check_client, check_proxy, check_repository, read_end
from farmlet.parts.software.cvmfs.look import look
from farmlet.parts.software.cvmfs.metrics import measure
from farmlet.runtime.checks import Failed
from farmlet.runtime.metrics import render
from waiting import Silent
from waiting import serve as running

NAME = "lab.example.org"
HOST = f"http://s1.example.org/cvmfs/{NAME}"
COLUMNS = (
    "VERSION PID UPTIME(M) MEM(K) REVISION EXPIRES(M) NOCATALOGS CACHEUSE(K) CACHEMAX(K) NOFDUSE NOFDMAX NOIOERR NOOPEN "
    "HITRATE(%) RX(K) SPEED(K/S) HOST PROXY ONLINE"
)
ROW = "2.12.0.0 4711 12 28672 7 3 1 51200 4096000 2 130560 1 502 98.5 53000 4100 {host} {proxy} {online}"


class Client:
    """A repository that is mounted below `folder`, and what the client says of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cvmfs" / NAME
        self.program = folder / "bin/cvmfs_config"
        for one in (self.root / "setup", self.program.parent):
            one.mkdir(parents=True)
        (self.root / "setup/README").write_text("hello")
        os.setxattr(self.root, "user.revision", b"7")

    def say(self, proxy: str, online: str = "1", host: str = HOST, row: str = ROW) -> None:
        text = row.format(host=host, proxy=proxy, online=online)
        self.program.write_text(f'#!/bin/sh\n[ "$*" = "stat {NAME}" ] || exit 1\nprintf "%s\\n" "{COLUMNS}" "{text}"\n')
        self.program.chmod(0o755)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    found = Client(tmp_path)
    monkeypatch.setenv("PATH", f"{found.program.parent}:{os.environ['PATH']}")
    read_end.cache_clear()
    yield found
    for process in checks.stuck.values():
        process.wait(10)
    checks.stuck.clear()


@contextmanager
def serve(text: bytes, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A web proxy that has the whitelist, and what it was asked for."""
    asked: list[str] = []

    class Proxy(Silent):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    with running(server):
        yield f"http://127.0.0.1:{server.server_port}", asked


def sign(days: float) -> bytes:
    """A whitelist that ends in so many days, with a signature that is no text."""
    now = datetime.now(UTC)
    stamp = "%Y%m%d%H%M%S"
    head = f"{now.strftime(stamp)}\nE{(now + timedelta(days=days)).strftime(stamp)}\nN{NAME}\nA1:B2 # publisher\n--\n"
    return head.encode() + b"\xff\xfe\x00signature"


def test_a_repository_that_works(client: Client) -> None:
    with serve(sign(29.5)) as (proxy, asked):
        client.say(proxy)
        said = check_repository(str(client.root), ["http://squid.example.org:3128", proxy])
        again = check_repository(str(client.root), [proxy], "setup/README")
        with pytest.raises(Failed, match="no proxy of the facility file"):
            check_repository(str(client.root), ["http://squid.example.org:3128"])
    assert re.fullmatch(
        rf"revision 7, 5 bytes of setup/README in \d\.\d\d s, through {re.escape(proxy)}, whitelist for 29 days", said
    ) or said.endswith("30 days")
    assert "5 bytes of setup/README" in again
    assert asked == [f"{HOST}/.cvmfswhitelist"]  # by the proxy, and once an hour


def test_a_mount_that_hangs_is_told_in_time_and_looked_at_by_one_process(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(client.root / "known")
    monkeypatch.setattr(checks, "TIMEOUT", 0.5)
    monkeypatch.setattr(checks.look, "__defaults__", (0.5,))
    began = time.monotonic()
    with pytest.raises(Failed, match=r"hangs: nothing could be read within 0\.5 s"):
        check_repository(str(client.root), ["DIRECT"], "known")
    assert time.monotonic() - began < 5
    # as one that waits for a server, whom nothing ends
    process = checks.stuck[str(client.root)]
    monkeypatch.setattr(process, "poll", lambda: None)
    with pytest.raises(Failed, match="a read from before has not ended"):
        check_repository(str(client.root), ["DIRECT"], "known")
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("days", "words"), [(2.5, r"the whitelist ends in 2\.5 days"), (-1, "the whitelist has ended"), (3.5, "")]
)
def test_the_end_of_the_whitelist_is_told_days_before(client: Client, days: float, words: str) -> None:
    with serve(sign(days)) as (proxy, _):
        client.say(proxy)
        if words:
            with pytest.raises(Failed, match=words):
                check_repository(str(client.root), [proxy])
        else:
            check_repository(str(client.root), [proxy])


@pytest.mark.parametrize(("text", "status"), [(b"<html>E20300101000000</html>", 200), (b"", 404), (b"E99999999999999\n", 200)])
def test_what_is_no_whitelist_is_no_success(client: Client, text: bytes, status: int) -> None:
    with serve(text, status) as (proxy, _):
        client.say(proxy)
        with pytest.raises(Failed, match="whitelist"):
            check_repository(str(client.root), [proxy])


def test_an_offline_client_with_a_warm_cache_is_not_well(client: Client) -> None:
    client.say("http://squid.example.org:3128", online="0")
    with pytest.raises(Failed, match=f"offline: {HOST} does not answer"):
        check_repository(str(client.root), ["http://squid.example.org:3128"])


@pytest.mark.parametrize(
    ("used", "proxies", "words"),
    [
        ("DIRECT", ["http://a.example.org:3128", "DIRECT"], "goes past its proxies"),
        ("DIRECT", ["DIRECT"], ""),
        ("http://127.0.0.1:3128", ["http://localhost:3128"], ""),
        ("http://localhost:3128", ["http://localhost:3128"], ""),
        ("http://127.0.0.1:3129", ["http://localhost:3128"], "no proxy of the facility file"),
        ("http://192.0.2.7:3128", ["http://localhost:3128"], "no proxy of the facility file"),
        ("", ["http://localhost:3128"], "no proxy of the facility file"),
        ("http://x:y", ["http://localhost:3128"], "no proxy of the facility file"),
    ],
)
def test_the_proxy_in_use_is_the_file_s(used: str, proxies: list[str], words: str) -> None:
    if words:
        with pytest.raises(Failed, match=words):
            check_proxy(used, proxies)
    else:
        check_proxy(used, proxies)


@pytest.mark.parametrize(
    "row", ["", "2.12.0.0 4711", ROW + " more", "Repository not mounted"], ids=["none", "cut", "wider", "words"]
)
def test_odd_answers_of_the_client_are_failures_in_words(client: Client, row: str) -> None:
    client.say("DIRECT", row=row)
    with pytest.raises(Failed, match="says nothing of use"):
        check_repository(str(client.root), ["DIRECT"])


def test_a_folder_is_no_repository(client: Client, tmp_path: Path) -> None:
    os.removexattr(client.root, "user.revision")
    with pytest.raises(Failed, match="is no mounted repository"):
        check_repository(str(client.root), ["DIRECT"])
    with pytest.raises(Failed, match="No such file"):
        check_repository(str(tmp_path / "none"), ["DIRECT"])
    with pytest.raises(Failed, match=r"known: No such file"):
        os.setxattr(client.root, "user.revision", b"7")
        check_repository(str(client.root), ["DIRECT"], "known")


def test_a_repository_without_a_small_file(client: Client) -> None:
    (client.root / "setup/README").unlink()
    (client.root / "setup/empty").touch()
    (client.root / "setup/link").symlink_to("/etc/passwd")
    with pytest.raises(FileNotFoundError, match=r"name one, software\.cvmfs\.files"):
        look(client.root, "")


def test_the_client_itself(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(checks, "check_unit", asked.append)
    with pytest.raises(Failed, match="not installed"):
        check_client(str(tmp_path), 1 << 30, ["a.automount"])
    client.say("DIRECT")
    assert "a cache of up to 1 MiB on a disk of" in check_client(str(tmp_path), 1 << 20, ["a.automount"])
    assert asked == ["a.automount"]
    size = checks.shutil.disk_usage(tmp_path).total
    check_client(str(tmp_path), size * 5 // 6, [])
    with pytest.raises(Failed, match=r"lower software\.cvmfs\.quota"):
        check_client(str(tmp_path), size * 9 // 10, [])


def test_numbers_are_those_of_the_columns(client: Client) -> None:
    client.say("DIRECT")
    text = render(measure([NAME, "other.example.org"]))
    for line in (
        f'farmlet_cvmfs_mounted{{repository="{NAME}"}} 1.0',
        'farmlet_cvmfs_mounted{repository="other.example.org"} 0.0',
        f'farmlet_cvmfs_online{{repository="{NAME}"}} 1.0',
        f'farmlet_cvmfs_revision{{repository="{NAME}"}} 7.0',
        f'farmlet_cvmfs_io_errors_total{{repository="{NAME}"}} 1.0',
        f'farmlet_cvmfs_hit_ratio{{repository="{NAME}"}} 0.985',
        f'farmlet_cvmfs_received_bytes_total{{repository="{NAME}"}} 54272000.0',
        f'farmlet_cvmfs_cache_used_bytes{{repository="{NAME}"}} 52428800.0',
        f'farmlet_cvmfs_expires_seconds{{repository="{NAME}"}} 180.0',
    ):
        assert line in text.splitlines()
    assert len(COLUMNS.split()) == 19


def test_a_number_that_is_none_yet_is_left_out(client: Client) -> None:
    client.say("DIRECT", row=ROW.replace("98.5", "n/a"))
    text = render(measure([NAME]))
    assert "hit" not in text and "farmlet_cvmfs_online" in text
