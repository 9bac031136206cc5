"""Where the bearer's token, and the list of those who may be told it, are looked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from farmlet.parts.software import bearer

NAME = f"bt_u{os.getuid()}"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No token and no list from outside the test; the working directory is one that others write to."""
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR", "X509_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bearer, "GUIDE", str(tmp_path / "etc.json"))
    monkeypatch.chdir(tmp_path)
    yield


def write_list(path: Path, *urls: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"elements": [{"name": "one", "url": url} for url in urls]}))


@pytest.mark.parametrize("told", [None, "", "certificates", "./certificates", "../x/certificates"])
def test_a_list_in_the_working_directory_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str | None) -> None:
    for folder in (tmp_path, tmp_path.parent / "x"):
        write_list(folder / "storage.json", "https://other.example.org")
    if told is not None:
        monkeypatch.setenv("X509_CERT_DIR", told)
    assert bearer.find_elements() == set()


def test_the_list_of_the_node_goes_before_that_of_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("X509_CERT_DIR", f"{tmp_path}/there/certificates/")
    write_list(tmp_path / "there" / "storage.json", "https://Job.example.org:8443/prefix", "http://plain.example.org")
    assert bearer.find_elements() == {("job.example.org", 8443)}
    write_list(tmp_path / "etc.json", "https://node.example.org")
    assert bearer.find_elements() == {("node.example.org", 443)}


@pytest.mark.parametrize("text", ["", "[]", '{"elements": null}', '{"elements": [{"url": "https://a:b"}]}'])
def test_a_list_that_is_not_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "etc.json").write_text(text)
    assert bearer.find_elements() == set()


@pytest.mark.parametrize("row", [{"url": "https://a:99999"}, {"url": "https://[a"}, {"url": 5}, {}, None, "https://a"])
def test_a_row_that_is_not_understood_costs_no_other_its_token(tmp_path: Path, row: object) -> None:
    (tmp_path / "etc.json").write_text(json.dumps({"elements": [row, {"url": "https://good.example.org"}, row]}))
    assert bearer.find_elements() == {("good.example.org", 443)}


def test_the_places_of_a_token_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEARER_TOKEN", " a ")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "file").write_text("b\n")
    (tmp_path / NAME).write_text("c\n")
    assert bearer.find_token() == "a"
    monkeypatch.delenv("BEARER_TOKEN")
    assert bearer.find_token() == "b"
    (tmp_path / "file").write_text("\n")
    assert bearer.find_token() == "c", "what is empty is none"
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    assert bearer.find_token() == "c"


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_what_another_put_there_is_not_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    secret = tmp_path / "secret"
    secret.write_text("a key of ours\n")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(secret)
    else:
        path.write_text("theirs\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with suppress(PermissionError):  # only root can give a file away
        os.lchown(path, 65534, 65534)
    if path.lstat().st_uid == os.getuid():
        monkeypatch.setattr(bearer.os, "getuid", lambda: path.lstat().st_uid + 1)
        path.rename(tmp_path / f"bt_u{bearer.os.getuid()}")
    assert bearer.find_token() == ""
