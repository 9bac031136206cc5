"""What layers leave of each other, against the plain reading of the specification."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import pytest

from farmlet.parts.software.unpacked.layers import Refused, Tree


def apply(*layers: Mapping[str, str | None]) -> list[str]:
    """The paths after layers of name → link's target, or None for a file; with a slash at the end a folder."""
    tree = Tree(1 << 30)
    for members in layers:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, target in members.items():
                info = tarfile.TarInfo(name.rstrip("/"))
                info.type = tarfile.SYMTYPE if target else tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                info.linkname = target or ""
                archive.addfile(info)
        out.seek(0)
        with tarfile.open(fileobj=out, mode="r|") as archive:
            tree.add(archive)
    return tree.tell().paths


def test_a_whiteout_is_about_earlier_layers_only() -> None:
    assert apply({"a/x": None, "a/y": None}, {"a/.wh.x": None}) == ["a", "a/y"]
    assert apply({"a/x": None}, {"a/x": None, "a/.wh.x": None}) == ["a", "a/x"]
    assert apply({"a/b/x": None, "a/b/y": None}, {"a/b/z": None, "a/.wh.b": None}) == ["a", "a/b", "a/b/z"]
    assert apply({"a": None}, {".wh.b": None}) == ["a"]


@pytest.mark.parametrize("late", [False, True])
def test_an_opaque_folder_keeps_what_its_own_layer_has(late: bool) -> None:
    names = ["a/.wh..wh..opq", "a/new", "a/deep/er"]
    top = dict.fromkeys(reversed(names) if late else names)
    assert apply({"a/old": None, "a/deep/old": None, "b": None}, top) == ["a", "a/deep", "a/deep/er", "a/new", "b"]


def test_links_are_followed_within_the_image() -> None:
    assert apply({"usr/lib/": None, "lib": "usr/lib"}, {"lib/x": None}) == ["lib", "usr", "usr/lib", "usr/lib/x"]
    assert apply({"a": "/../../b"}, {"a/x": None}) == ["a", "b", "b/x"]
    with pytest.raises(Refused, match="circle"):
        apply({"a": "b", "b": "a"}, {"a/x": None})


def test_what_comes_later_takes_the_place() -> None:
    assert apply({"a/x": None}, {"a": None}) == ["a"]
    assert apply({"a": None}, {"a/": None, "a/x": None}) == ["a", "a/x"]
    assert apply({"b/": None, "a": "b"}, {"a/": None, "a/x": None}) == ["a", "a/x", "b"]
    assert apply({"a/x": None}, {"a/": None}) == ["a", "a/x"]
