"""Members' own images for notebooks: who sees which, and what the Hub believes. Servers: facility tests."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.notebooks import own
from farmlet.parts.notebooks.hub.own import HUB, Images, Own, run_as
from farmlet.parts.notebooks.roster import Member
from farmlet.parts.own import Record, find, recall, tell

BASE = "analysis-0123456789ab"
NORA = Member("sub", "nora", 5001, 5001, "/home/nora")


def make_record(path: Path, name: str = "fit", made: float = 1.0) -> Record:
    file = path.stat()
    return Record(name, str(path), file.st_size, file.st_mtime_ns, BASE, made, HUB)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "told").mkdir(mode=0o777)
    return tmp_path / "told"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "fit.sif"
    file.write_bytes(b"an image")
    return file


def test_the_newest_of_each_name_is_told(folder: Path, image: Path, tmp_path: Path) -> None:
    tell(make_record(image), folder)
    tell(make_record(image, "other"), folder)
    tell(make_record(image, made=2.0), folder)
    assert len(list(folder.iterdir())) == 2, "the older one is gone"
    assert find(folder)[os.getuid(), "fit"].made == 2.0
    assert sorted(row["name"] for row in own.describe(folder)) == ["fit", "other"]
    tell(make_record(image), tmp_path / "nobody-asks")
    for path in folder.iterdir():
        path.unlink()  # the node has booted
    recall(folder)
    assert sorted(row["name"] for row in own.describe(folder)) == ["fit", "other"]
    recall(folder)
    assert len(list(folder.iterdir())) == 2, "once"
    image.write_bytes(b"another one")
    assert own.describe(folder) == [], "it is not what was told of"
    image.unlink()
    assert own.describe(folder) == []


def test_what_others_leave_there_is_no_record(folder: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(make_record(image).__dict__))
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    for number, text in enumerate(("", "[]", "{", "[" * 3000, '{"name": 1}', '"' + "x" * 5000 + '"')):
        (folder / f"{number}.json").write_text(text)
    (folder / "kinds.json").write_text(json.dumps(make_record(image).__dict__ | {"path": 7}))
    (folder / "nul.json").write_text(json.dumps(make_record(image).__dict__ | {"path": "/\0"}))
    assert own.describe(folder) == []


@pytest.mark.skipif(os.getuid() != 0, reason="files of others")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "seen"),
    [(4242, 0, 0o640, True), (4242, 0, 0o604, False), (4242, 4242, 0o644, False), (0, 0, 0o640, False)],
    ids=["a group of mine", "not the group", "another group", "not theirs"],
)
def test_others_images_are_seen_by_whom_their_group_lets(
    folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, seen: bool
) -> None:
    tell(make_record(image), folder)
    (record,) = folder.iterdir()
    os.chown(record, 4242, 4242)
    os.chown(image, owner, group)
    image.chmod(mode)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("olga", "", uid, uid, "", "", "")))
    assert [row["owner"] for row in own.describe(folder)] == (["olga"] if seen else [])


def answer(rows: Any, tmp_path: Path) -> dict[str, Own]:
    """What the Hub makes of what a member's process says."""
    published = tmp_path / "unpacked"
    (published / ".images" / BASE / "etc").mkdir(parents=True, exist_ok=True)
    (published / ".images" / BASE / "etc" / "farmlet-image").touch()
    (tmp_path / "told").mkdir(exist_ok=True)
    images = Images(published, tmp_path / "told")
    answers = [b"[]", rows if isinstance(rows, bytes) else json.dumps(rows).encode()]

    async def said(name: str, words: Sequence[str], seconds: int) -> bytes:
        return answers.pop(0)

    images.run_as = said  # type: ignore[method-assign, assignment]
    assert [asyncio.run(images.list(NORA)) for _ in range(2)] == [{}, {}] and len(answers) == 1, "nobody has any: asked once"
    (tmp_path / "told" / "fit.json").touch()
    return asyncio.run(images.list(NORA))


def test_the_hub_offers_what_can_run_and_says_why_not(tmp_path: Path) -> None:
    row = {"owner": "nora", "name": "fit", "base": BASE, "made": 5.0, "hub": HUB}
    rows = [
        row | {"owner": "olga", "made": 9.0},
        row,
        row | {"name": "old", "base": "analysis-ba9876543210"},
        row | {"name": "four", "hub": "4.1"},
    ]
    found = answer(rows, tmp_path)
    assert list(found) == ["nora/fit", "nora/old", "nora/four", "olga/fit"]
    assert (found["nora/fit"].why, found["nora/fit"].tag) == ("", "farmlet/analysis:0123456789ab")
    assert "not kept any more" in found["nora/old"].why and "JupyterHub 4" in found["nora/four"].why


@pytest.mark.parametrize(
    "more",
    [
        {"name": "../x"},
        {"name": "a\nb"},
        {"owner": "x/y"},
        {"owner": ""},
        {"name": "<b>"},
        {"made": 1e99},
        {"made": "nan"},
        {"made": -1},
    ],
    ids=str,
)
def test_odd_names_and_times_are_left_out(tmp_path: Path, more: dict[str, Any]) -> None:
    assert answer([{"owner": "nora", "name": "fit", "base": BASE, "made": 5.0, "hub": HUB} | more], tmp_path) == {}


@pytest.mark.parametrize("base", ["../../../../etc", "/etc-0123456789ab", "analysis", f"{BASE}/..", f"x/../{BASE}"])
def test_it_begins_with_nothing_but_a_published_image(tmp_path: Path, base: str) -> None:
    (found,) = answer([{"owner": "nora", "name": "fit", "base": base, "made": 5.0, "hub": HUB}], tmp_path).values()
    assert "not kept" in found.why


@pytest.mark.parametrize(
    "said", [b"", b"{", b'{"a": 1}', b"7", b"[7]", b"[[]]", b'[{"owner": 1}]', b"\xff", b"[" * 9999], ids=repr
)
def test_nonsense_is_no_answer(tmp_path: Path, said: bytes) -> None:
    with pytest.raises(FarmletError, match="cannot be looked for"):
        answer(said, tmp_path)


def test_what_a_process_says_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systemd-run").write_text("#!/bin/sh\nexec yes\n")
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert 1 << 18 <= len(asyncio.run(run_as("nora", ["x"], 10))) <= 1 << 20
