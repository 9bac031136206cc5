"""Images of the facility file: what may be said there, and what the builder is told of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts import part
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Command
from farmlet.parts.software import image
from farmlet.parts.software.builder import Builder
from farmlet.parts.software.config import Software
from farmlet.parts.software.deploy import describe_images, list_images, open_image

TEXT = """
farmlet: 1
facility: {name: af, title: Example, domain: af.test}
nodes:
  head: {connect: fake, runs: [access, batch, software, storage]}
  service: {connect: fake, runs: [identity, accounts, tokens]}
groups: {lab: {login: true}}
"""
HEP = {"name": "hep", "requirements": ["mplhep"]}


def load(more: str, folder: Path | None = None) -> Facility:
    return loads(TEXT + more, "facility.yaml", part.find(), folder)


def test_the_shipped_image_is_the_first_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("# pinned\nvector==1.6.1\n")
    facility = load("software: {images: [{name: hep, requirements: [mplhep]}, {name: two, from: hep, lock: two.txt}]}", tmp_path)
    assert list_images(facility) == ["analysis", "hep", "two"]
    told: Any = describe_images(Context(facility, facility.nodes["service"], Trust(""), "0" * 64))
    assert [(one["name"], one.get("base")) for one in told["images"]] == [("analysis", None), ("hep", "analysis"), ("two", "hep")]
    assert told["images"][0]["stamp"] == image.analysis().digest
    assert told["images"][2]["requirements"] == ["vector==1.6.1"]
    assert Builder(told, tmp_path).recipes["hep"].requirements == ("mplhep",)


@pytest.mark.parametrize(("text", "words"), [(None, "cannot read"), ("--pre\n", "is an option"), ("", "names no packages")])
def test_a_lock_file_is_looked_at_before_anything_is_built(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "two.txt").write_text(text)
    with pytest.raises(Errors, match=words):
        load("software: {images: [{name: two, lock: two.txt}]}", tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"images": [HEP, HEP]}, "two images have the name hep"),
        ({"images": [HEP | {"from": "later"}, {"name": "later", "packages": ["jq"]}]}, "not above it"),
        ({"images": [{"name": "hep"}]}, "adds nothing"),
        ({"images": [HEP | {"name": "analysis"}]}, "the facility's own"),
        ({"images": [HEP | {"lock": "hep.txt"}]}, "one of them"),
        ({"images": [HEP | {"lock": "../hep.txt"}]}, "pattern"),
        ({"images": [HEP | {"name": "../x"}]}, "pattern"),
        ({"images": [HEP | {"requirements": ["--pre"]}]}, "is an option"),
        ({"images": [{"name": "hep", "packages": ["-o", "jq"]}]}, "pattern"),
        ({"images": [HEP | {"title": "a\x1bb"}]}, "pattern"),
        ({"default": "hep"}, "none of the images"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Software.model_validate(given)


def test_the_hub_is_the_one_that_is_installed() -> None:
    assert image.find_hub().split(".")[0].isdigit()
    assert f"jupyterhub=={image.find_hub()} " in image.requirements()


def test_an_image_is_left_without_what_members_could_not_copy(tmp_path: Path) -> None:
    for name, mode in (("dev/console", 0o666), ("etc/shadow", 0o640), ("usr/bin/su", 0o4711)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode)
    step = open_image(str(tmp_path))
    assert isinstance(step, Command) and subprocess.run(["sh", "-c", step.unless]).returncode == 1
    subprocess.run(["sh", "-ec", step.run], check=True)
    assert subprocess.run(["sh", "-c", step.unless]).returncode == 0
    assert not list((tmp_path / "dev").iterdir())
    modes = [(tmp_path / name).stat().st_mode & 0o7777 for name in ("etc/shadow", "usr/bin/su")]
    assert modes == [0o644, 0o4755]
