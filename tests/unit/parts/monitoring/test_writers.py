"""What writers outside send: under names of their own, so many and no more; and what further stores get."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.monitoring.pages import copies, writers
from farmlet.parts.monitoring.pages.copies import Copies
from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.pages.writers import Writers

TOKEN = "f" * 64


class Made(Store):
    def __init__(self, *answers: int) -> None:
        super().__init__("")
        self.answers, self.taken = list(answers), list[tuple[str, bytes, str]]()

    def take(self, writer: str, lines: bytes, precision: str) -> int:
        self.taken.append((writer, lines, precision))
        return 204

    def write(self, node: str, body: bytes, headers: Mapping[str, str]) -> int:
        status = self.answers.pop(0) if self.answers else 204
        if status == 0:
            raise Away("x")
        if status < 300:
            self.taken.append((node, body, ""))
        return status


def send(app: Writers, body: bytes, authorization: str = f"Token {TOKEN}", query: str = "", **more: Any) -> tuple[int, str]:
    said: list[str] = []
    length = {} if "wsgi.input_terminated" in more else {"CONTENT_LENGTH": str(len(body))}
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/influx/write", "QUERY_STRING": query, "wsgi.input": io.BytesIO(body)}
    environ |= {"HTTP_AUTHORIZATION": authorization, **length, **more}
    answer = b"".join(app(environ, lambda status, _: said.append(status)))
    return int(said[0][:3]), json.loads(answer)["error"] if answer else ""


def test_lines_come_with_the_name_of_their_writer() -> None:
    app = Writers(store := Made(), {"telegraf": TOKEN, "other": "0" * 64})
    basic = base64.b64encode(f"x:{TOKEN}".encode()).decode()
    line = b'beam,ring=a\\ b current=1.5,note="a=1, b" 17\n'
    for words in (f"Token {TOKEN}", f"Bearer {TOKEN}", f"Basic {basic}"):
        assert send(app, line, words, "precision=s") == (204, "")
    assert store.taken == [("telegraf", line, "s")] * 3
    packed = {"HTTP_CONTENT_ENCODING": "gzip", "wsgi.input_terminated": True}
    assert send(app, gzip.compress(b"beam current=2"), **packed) == (204, "")


@pytest.mark.parametrize("words", ["", "Token", "Token x", "Basic !", f"Basic {TOKEN}", f"Bearer {TOKEN}0", "Token \u00e9"])
def test_without_a_token_nothing_is_taken(words: str) -> None:
    app = Writers(store := Made(), {"telegraf": TOKEN})
    assert send(app, b"beam current=1", words)[0] == 401 and not store.taken


@pytest.mark.parametrize(
    "line",
    [
        b"up value=1",
        b"node load1=0",
        b"Farmlet_check ok=1",
        b"farmlet check_ok=1",
        b"\\farmlet check_ok=1",
        b"beam,__name__=farmlet_check_ok value=1",
        b"beam,x=1,__name__=up value=1",
        b"beam,x\\,__name__=up value=1",
        b"beam",
        b"beam ",
        b"beam value",
        b"beam " + b",".join(b"f%d=1" % number for number in range(100)),
        b"\xff\xfe value=1",
    ],
)
def test_a_line_that_could_pass_for_ours_or_is_none_costs_itself(line: bytes) -> None:
    app = Writers(store := Made(), {"telegraf": TOKEN})
    status, words = send(app, b"good value=1\n" + line + b"\ngood value=2\n")
    assert status == 400 and words.startswith("partial write: line 2: ")
    assert store.taken == [("telegraf", b"good value=1\ngood value=2\n", "")]


def test_series_without_end_are_cut_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "SERIES", 3)
    app = Writers(store := Made(), {"telegraf": TOKEN})
    status, words = send(app, b"".join(b"beam,id=%d value=1\n" % number for number in range(9)))
    assert status == 400 and "line 4: more than 3 series" in words and store.taken[0][1].count(b"\n") == 3
    assert send(app, b"beam,id=1 value=2\n") == (204, "")  # those that are known go on


def test_what_is_too_long_is_not_unpacked() -> None:
    app = Writers(store := Made(), {"telegraf": TOKEN})
    bomb = gzip.compress(b"\n" * (writers.TEXT_BYTES + 1))
    assert send(app, bomb, HTTP_CONTENT_ENCODING="gzip")[0] == 413
    assert send(app, b"x" * (writers.BODY_BYTES + 1))[0] == 413
    assert send(app, b"x", HTTP_CONTENT_ENCODING="gzip")[0] == 400 and not store.taken


@given(st.binary())
def test_any_bytes_are_answered(body: bytes) -> None:
    app = Writers(store := Made(), {"telegraf": TOKEN})
    assert send(app, body)[0] in (204, 400)
    for _, lines, _ in store.taken:
        assert all(writers.KEY.fullmatch(line) and not writers.OURS.match(line) for line in lines.split(b"\n") if line)


def test_copies_wait_while_the_relay_is_away() -> None:
    relay = Made(204, 0, 503, 0)
    found = Copies(relay)
    for number in range(4):
        found.add("head", b"%d" % number, {})
    assert [body for _, body, _ in relay.taken] == [b"0"]
    relay.answers = [204, 400]  # what it will never take is not kept
    found.add("head", b"4", {})
    assert [body for _, body, _ in relay.taken] == [b"0", b"1", b"3", b"4"]
    relay.answers = [0] * (copies.MOST + 5)
    for _ in range(copies.MOST + 5):
        found.add("head", b"x", {})
    assert len(found._waiting) == copies.MOST
