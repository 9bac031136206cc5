"""What is said of the unpacked area: its check, its numbers, its leases, and refusals of the admin's verbs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import InputError
from farmlet.parts import images
from farmlet.parts.images import IN_USE, Row
from farmlet.parts.software import checks
from farmlet.parts.software.admin import refuse
from farmlet.parts.software.metrics import count_unpacked
from farmlet.parts.software.unpacked import leases
from farmlet.parts.software.unpacked.leases import Job
from farmlet.parts.software.unpacked.unpack import render
from farmlet.runtime.checks import Failed

GOOD = Row("r.example.org/lab/mini:v1", offered=True, size=1000, tested=1800000000.0)
BAD = Row("alpine", error="wishlist.yaml:4: does not begin\n with a registry")


def save(folder: Path, *rows: Row, age: float = 60) -> None:
    images.save(rows, folder)
    (folder / ".state.json").write_text(json.dumps({"run": time.time() - age, "flats": {}}))


def test_the_check_tells_failed_lines_and_silence(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nothing was fetched yet"):
        checks.check_unpacked(str(tmp_path))
    save(tmp_path, GOOD)
    evidence = "1 images, the last unpacked 2027-01-15 08:00 UTC, registries asked 1 min ago"
    assert checks.check_unpacked(str(tmp_path)) == evidence
    save(tmp_path, GOOD, BAD)
    with pytest.raises(Failed, match=r"1 of 2: wishlist\.yaml:4: does not begin with a registry"):
        checks.check_unpacked(str(tmp_path))
    save(tmp_path, GOOD, age=4 * 3600)
    with pytest.raises(Failed, match="240 min ago"):
        checks.check_unpacked(str(tmp_path))


def test_images_are_counted_and_what_two_names_share_once(tmp_path: Path) -> None:
    assert [one.value for one in count_unpacked(str(tmp_path))] == [0, 0, 0, 0]
    (tmp_path / "flat").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).symlink_to("flat")
    save(tmp_path, Row("a", offered=True, size=7, tested=5.0), Row("b", offered=True, size=7, error="x"), BAD)
    assert [one.value for one in count_unpacked(str(tmp_path))] == [2, 2, 7, 5.0]


def test_leases_are_the_slots_word_read_by_types(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        {"ContainerImage": "/cvmfs/u/r/x:1/", "JobStart": 100},
        {"ContainerImage": 7, "SingularityImage": "/cvmfs/u/r/y:1", "JobStart": "long ago"},
        {"ContainerImage": '/Expr(strcat("/cvmfs"))/'},
    ]
    monkeypatch.setattr(leases, "run", lambda *words: json.dumps(said))
    assert leases.read("pool") == [Job("/cvmfs/u/r/x:1/", 100.0), Job("/cvmfs/u/r/y:1", 0.0)]
    assert leases.read("") == []
    assert [leases.find_name(one, Path("/cvmfs/u")) for one in leases.read("pool")] == ["r/x:1", "r/y:1"]
    assert leases.find_name(Job("/cvmfs/unpacked/analysis", 0), Path("/cvmfs/u")) == ""


def test_notebooks_hold_what_their_nodes_tell(tmp_path: Path) -> None:
    told = tmp_path / "head.json"
    row = {"check": IN_USE, "ok": True, "evidence": f"in use: hep-0123456789ab {'a' * 64}"}

    def read(age: float = 0, **more: Any) -> list[str]:
        told.write_text(json.dumps({"at": time.time() - age, "results": [{"check": "other"}, row | more]}))
        return [job.image for job in leases.read("", [str(told)])]

    assert read() == ["hep-0123456789ab", "a" * 64]
    assert leases.is_used("a" * 64, [], 0, leases.read("", [str(told)]), Path("/cvmfs/u"))
    for given in ({"age": 3600}, {"ok": False}, {"check": "else"}):
        with pytest.raises(Failed, match="head "):
            read(**given)
    told.unlink()
    with pytest.raises(Failed, match="head has not told"):
        leases.read("", [str(told)])


@pytest.mark.parametrize(
    ("action", "name", "words"),
    [
        ("remove", "hep", "is in the facility file"),
        ("publish", "hep", "is offered already"),
        ("publish", "bad", "was not validated: its test: ended with 1"),
        ("publish", "new", "was never built"),
        ("publish", "r.example.org/x:1", "no wish list"),
    ],
)
def test_an_image_of_the_facility_file_is_not_published_by_hand(action: str, name: str, words: str) -> None:
    own = [{"name": "hep", "offered": True, "error": ""}, {"name": "bad", "offered": False, "error": "its test: ended with 1"}]
    with pytest.raises(InputError, match=words):
        refuse(action, name, [*own, {"name": "new", "offered": False, "error": ""}], wanted=False)


def test_variables_of_an_image_are_no_commands() -> None:
    text = render({"config": {"Env": ["A=$(touch x)'`", "B;touch y=1", 7, "PATH=/bin"]}})
    assert text == "#!/bin/sh\nif [ -z \"${A:-}\" ]; then export A='$(touch x)'\"'\"'`'; fi\nexport PATH=/bin\n"
    assert render({"config": None}) == render({"config": {"Env": "x"}}) == "#!/bin/sh\n"
