"""The wish list of the unpacked area: what a line may be, what a bad one costs, and what the node is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.errors import Errors, FarmletError
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts import part
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import File
from farmlet.parts.software.unpacked import deploy
from farmlet.parts.software.unpacked.area import Setting
from farmlet.parts.software.unpacked.wishes import check, parse

TEXT = """
farmlet: 1
facility: {name: af, title: Example, domain: af.test}
nodes:
  head: {connect: fake, runs: [access, batch, software, storage]}
  service: {connect: fake, runs: [identity, accounts, tokens]}
groups: {lab: {login: true}}
software: {unpacked: wishlist.yaml}
"""
LIST = """\
version: 1
user: farmlet
cvmfs_repo: 'unpacked.af.test'
output_format: '$(scheme)://registry.example.org/thin/$(image)'
input:
  - 'https://docker.io/library/debian:13'
  - alpine
  - registry.example.org/lab/mini:v*

  - {a: b}
  - docker.io/library/debian:13
  - "registry.example.org:5000/lab/mini@sha256:%s"
""" % ("0" * 64)
ZERO = "sha256:" + "0" * 64


def test_one_bad_line_costs_that_line() -> None:
    wishes = parse(LIST, "wishlist.yaml", "unpacked.af.test")
    assert [(one.line, one.name) for one in wishes.found] == [
        (6, "docker.io/library/debian:13"),
        (8, "registry.example.org/lab/mini:v*"),
        (12, f"registry.example.org:5000/lab/mini@{ZERO}"),
    ]
    assert [(one.line, one.why.partition(",")[0]) for one in wishes.faults] == [
        (7, "does not begin with a registry"),
        (10, "is no name of an image"),
        (11, "is in line 6 already"),
    ]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("alpine", "a registry"),
        ("library/alpine:3", "a registry"),
        ("registry.example.org/lab/mini", "no tag and no digest"),
        ("registry.example.org/lab/mini:", "right tag|no tag"),
        ("registry.example.org/lab/mini@", "no tag|digest"),
        ("registry.example.org/lab/mini@sha256:12", "right digest"),
        ("registry.example.org/lab/mini:v 1", "right tag"),
        ("registry.example.org/../../etc:v1", "no repository"),
        ("registry.example.org/.flat/x:v1", "no repository"),
        ("registry.example.org//mini:v1", "no repository"),
        ("../x.y/lab:v1", "a registry"),
        ("ftp://registry.example.org/lab/mini:v1", "https://"),
        ("http://registry.example.org/lab/mini:v1", "without encryption"),
        (f"registry.example.org/lab/mini:v*@{ZERO}", "one image has one tag"),
        ("--help.me/lab/mini:v1", "a registry"),
        (7, "no name of an image"),
        (None, "no name of an image"),
    ],
)
def test_what_is_no_image_says_why(item: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(item)


def test_plain_http_is_for_what_has_a_digest() -> None:
    assert check(f"http://registry.example.org/lab/mini:v1@{ZERO}").plain
    assert check("http://127.0.0.1:5000/lab/mini:v1").plain


@given(st.one_of(st.text(max_size=60), st.text("abc./:@-_*~0 ", max_size=60)))
def test_no_text_leads_out_of_the_area(text: str) -> None:
    try:
        name = check(text).name
    except ValueError:
        return
    assert not name.startswith(("/", ".", "-")) and ".." not in name.split("/") and "" not in name.split("/")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input: [", "not YAML"),
        ("- a", "has no list `input`"),
        ("version: 1\ncvmfs_repo: unpacked.af.test\ninput: x", "has no list `input`"),
        ("version: 7\ncvmfs_repo: unpacked.af.test\ninput: []", "`version` is not 1"),
        ("version: 1\ncvmfs_repo: unpacked.af\ninput: []", "`cvmfs_repo` is not unpacked.af.test"),
        ("version: 1\ncvmfs_repo: unpacked.af.test\ninput: [" + "a," * 501 + "]", "more than 500"),
        ("#" * 300_000, "characters"),
    ],
)
def test_what_is_no_wish_list_is_refused_as_a_whole(text: str, words: str) -> None:
    with pytest.raises(FarmletError, match=words):
        parse(text, "wishlist.yaml", "unpacked.af.test")


def load(folder: Path) -> Facility:
    return loads(TEXT, "facility.yaml", part.find(), folder)


def test_the_facility_file_names_it_and_the_node_is_told(tmp_path: Path) -> None:
    (tmp_path / "wishlist.yaml").write_text(LIST)
    facility = load(tmp_path)
    (first, *others) = part.find_notes(facility, part.find())
    assert first.startswith("wishlist.yaml:7: `alpine` does not begin with a registry") and len(others) == 2
    context = Context(facility, facility.nodes["service"], Trust(""), "0" * 64)
    resources = deploy.configure(context)
    (told,) = [one for one in resources if isinstance(one, File) and one.path == deploy.CONFIG]
    setting = Setting.read(told.data.decode())
    assert (setting.folder, setting.pool) == ("/cvmfs/unpacked.af.test", "service.af.test")
    assert [one.line for one in setting.wishes] == [6, 8, 12] and [one.line for one in setting.faults] == [7, 10, 11]
    assert [check.external for check in deploy.check(context)] == [True] and len(deploy.measure(context)) == 1
    assert json.loads(told.data)["file"] == "wishlist.yaml"


def test_a_list_that_is_not_there_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(Errors, match="cannot read"):
        load(tmp_path)
    (tmp_path / "wishlist.yaml").write_text("input: [")
    with pytest.raises(Errors, match="not YAML"):
        load(tmp_path)


def test_without_a_list_there_is_nothing_of_it(tmp_path: Path) -> None:
    facility = loads(TEXT.replace("software: {unpacked: wishlist.yaml}", ""), "facility.yaml", part.find(), tmp_path)
    context = Context(facility, facility.nodes["service"], Trust(""), "0" * 64)
    assert not [*deploy.configure(context), *deploy.check(context), *deploy.measure(context)]
