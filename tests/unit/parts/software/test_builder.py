"""What is offered, and what stays, as images are built, fail, change and go. Real builds and tests are in the facility tests."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts import images
from farmlet.parts.software import builder, trial
from farmlet.parts.software.builder import Builder, main
from farmlet.parts.software.checks import check_image
from farmlet.parts.software.unpacked import leases
from farmlet.parts.software.unpacked.leases import Job
from farmlet.runtime.checks import Failed

MORE: dict[str, Any] = {"name": "hep", "title": "More", "base": "analysis", "requirements": ["mplhep"], "test": "true"}


class House:
    """A published folder, the file that says what should be in it, and a layer that writes what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.published, self.config = folder / "unpacked", folder / "images.json"
        self.published.mkdir()
        self.source = folder / "built"
        (self.source / "etc").mkdir(parents=True)
        self.ship("a" * 64)
        self.layer = folder / "layer.sh"
        self.layer.write_text('#!/bin/sh\ncat "$2/requirements.txt" >> "$1/added"\necho x >> "$1/../../../runs"\n')
        self.layer.chmod(0o755)
        self.wanted: list[dict[str, Any]] = [MORE]

    def ship(self, digest: str) -> None:
        (self.source / "etc" / "farmlet-image").write_text(f"analysis {digest}\n")
        self.shipped = {"name": "analysis", "source": str(self.source), "stamp": digest}

    def open(self) -> Builder:
        return Builder({"images": [self.shipped, *self.wanted], "hub": "6.1.1", "keep_days": 7}, self.published, str(self.layer))

    def build(self, only: str = "") -> dict[str, images.Row]:
        self.open().build(only)
        return images.load(self.published)

    @property
    def runs(self) -> int:
        """How often something was added to an image."""
        path = self.published.parent / "runs"
        return len(path.read_text().split()) if path.exists() else 0


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    def run(root: Path, name: str, script: str, hub: str) -> trial.Told:
        if script == "false":
            raise FarmletError(f"image {name}: its test", "ended with 1\n  no module mplhep")
        added = (root / "added").read_text().split() if (root / "added").exists() else []
        return trial.Told("6.1.1", dict.fromkeys(added, "1"), {})

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(builder, "SPARE", 0)
    return House(tmp_path)


def test_each_is_made_once_and_offered(house: House) -> None:
    assert not house.open().ready()
    rows = house.build()
    assert [(row.name, row.offered, row.error) for row in rows.values()] == [("analysis", True, ""), ("hep", True, "")]
    assert (house.published / "hep" / "added").read_text() == "mplhep\n"
    assert (house.published / "hep").resolve().name == f"hep-{rows['hep'].digest[:12]}"
    assert (house.published / "hep" / "etc/farmlet-image").read_text() == f"hep {rows['hep'].digest}\n"
    assert not (house.published / "analysis" / "added").exists(), "what it is from stays as it was"
    assert rows["hep"].python == {"mplhep": "1"}
    assert house.open().ready()
    assert house.build() == rows
    assert house.runs == 1
    assert check_image(str(house.published / "hep")).startswith(f"hep {rows['hep'].digest[:12]} at ")


def test_what_fails_its_test_is_not_offered_and_says_why(house: House) -> None:
    house.wanted = [MORE | {"test": "false"}]
    rows = house.build()
    assert (rows["hep"].offered, rows["hep"].error) == (False, "image hep: its test: ended with 1\n  no module mplhep")
    assert not (house.published / "hep").exists()
    assert [path.name for path in (house.published / ".images").iterdir()] == [f"analysis-{'a' * 12}"]
    with pytest.raises(Failed, match="no module mplhep"):
        check_image(str(house.published / "hep"))
    assert house.open().ready(), "`up` does not try it again and again"
    assert house.build("hep")["hep"].error
    assert house.runs == 2, "but who asks for it gets it"
    house.wanted = [MORE]
    assert not house.open().ready()
    assert house.build()["hep"].offered


def test_what_worked_is_offered_on_while_the_next_one_fails(house: House) -> None:
    before = house.build()["hep"]
    house.wanted = [MORE | {"requirements": ["mplhep", "vector"], "test": "false"}]
    now = house.build()["hep"]
    assert (now.offered, now.digest, now.python) == (True, before.digest, before.python)
    assert "no module" in now.error
    assert (house.published / "hep" / "added").read_text() == "mplhep\n"
    with pytest.raises(Failed, match="offered still"):
        check_image(str(house.published / "hep"))


def test_a_layer_that_fails_leaves_nothing(house: House) -> None:
    house.layer.write_text("#!/bin/sh\necho no such package >&2\nexit 3\n")
    row = house.build()["hep"]
    assert not row.offered
    assert "ended with 3\n  no such package" in row.error
    assert not (house.published / ".images" / ".hep.new").exists()


def test_without_room_nothing_is_begun(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SPARE", 1 << 60)
    assert "of disk" in house.build()["analysis"].error
    assert "analysis is not offered" in house.build()["hep"].error


def test_another_base_makes_all_that_are_from_it_anew(house: House) -> None:
    first = house.build()["hep"]
    house.ship("b" * 64)
    assert not house.open().ready()
    second = house.build()["hep"]
    assert second.digest != first.digest
    assert house.runs == 2


def test_what_was_replaced_stays_for_a_while(house: House) -> None:
    first = house.build()["hep"]
    house.wanted = [MORE | {"requirements": ["vector"]}]
    house.build()
    old = house.published / ".images" / f"hep-{first.digest[:12]}"
    assert (old / "added").read_text() == "mplhep\n", "what runs in it goes on"
    assert (house.published / "hep" / "added").read_text() == "vector\n"
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    house.build()
    assert not old.exists()
    assert (house.published / "hep" / "added").exists()


def test_what_was_replaced_stays_while_somebody_uses_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = house.build()["hep"]
    house.wanted = [MORE | {"requirements": ["vector"]}]
    house.build()
    old = house.published / ".images" / f"hep-{first.digest[:12]}"
    until = time.time() - 8 * 86400
    os.utime(old, (until,) * 2)
    name = str(house.published / "hep")
    found: list[Job] = []

    def read(pool: str) -> list[Job]:
        if not found:
            raise Failed("the pool is silent")
        return found

    monkeypatch.setattr(leases, "read", read)
    for more in ([], [Job(name, until - 10)], [Job(old.name, time.time())], [Job(str(old), 0)]):
        found[:] = more
        house.build()
        assert old.exists(), more
    found[:] = [Job(name, until + 3600), Job("/home/x/y.sif", 0)]
    house.build()
    assert not old.exists(), "a job that began later is in the next one"


def test_what_the_file_no_longer_names_is_not_offered(house: House) -> None:
    row = house.build()["hep"]
    house.wanted = []
    assert not house.open().ready()
    assert list(house.build()) == ["analysis"]
    assert not (house.published / "hep").is_symlink()
    assert (house.published / ".images" / f"hep-{row.digest[:12]}").is_dir()


def test_a_test_of_what_is_offered_takes_it_back_and_gives_it_again(house: House) -> None:
    house.build()
    house.wanted = [MORE | {"test": "false"}]
    house.open().test("hep")
    row = images.load(house.published)["hep"]
    assert not row.offered
    assert not (house.published / "hep").exists()
    house.wanted = [MORE]
    house.open().test("hep")
    assert images.load(house.published)["hep"].offered
    assert (house.published / "hep" / "added").exists()


def test_a_folder_of_an_older_facility_becomes_a_link(house: House) -> None:
    (house.published / "analysis" / "etc").mkdir(parents=True)
    (house.published / "analysis" / "etc/farmlet-image").write_text(f"analysis {'a' * 64}\n")
    assert house.build()["analysis"].offered
    assert (house.published / "analysis").is_symlink()


def test_only_images_of_ours_are_ever_removed(house: House, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    house.build()
    (house.published / ".images" / "hep-000000000000").symlink_to(other)
    with pytest.raises(FarmletError, match="is no image of ours"):
        house.open()._remove(house.published / ".images" / "hep-000000000000")
    with pytest.raises(FarmletError, match="is no image of ours"):
        house.open()._remove(other)
    assert other.is_dir()


def test_the_program_answers_in_words(house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    house.config.write_text(json.dumps({"images": [house.shipped], "hub": "", "keep_days": 7}))
    words = ["--config", str(house.config), "--folder", str(house.published)]
    assert main([*words, "list"]) == 0
    assert [(row["name"], row["offered"]) for row in json.loads(capsys.readouterr().out)] == [("analysis", False)]
    assert main([*words, "ready"]) == 1
