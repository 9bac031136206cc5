"""What is compiled on nodes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.parts.access.motley import MODULE
from farmlet.parts.compiled import FOLDER, Plugin
from farmlet.parts.resources import Command, File, Unit, Wanted
from farmlet.parts.storage import element

PLUGINS = (MODULE, *element.PLUGINS)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.source)
def test_no_plug_in_is_taken_for_a_module_of_python(plugin: Plugin) -> None:
    """Programs of ours lie in the same folder, which Python looks through first when it runs them."""
    assert plugin.source.split(".")[0] not in sys.stdlib_module_names


@pytest.fixture
def node(tmp_path: Path) -> Callable[[str, str], bool]:
    """Runs a script of a node in a folder of its own: whether it ends well. The second word is the version of all packages."""
    programs = tmp_path / "programs"
    programs.mkdir()
    query = 'shift; for name in "$@"; do printf "%s\\t%s\\n" "$name" "$VERSION"; done'
    compiler = f'while [ "$1" != -o ]; do shift; done; echo "$VERSION" > "$2"; echo compiled >> {tmp_path}/log'
    for name, script in (("dpkg-query", query), ("gcc", compiler), ("g++", compiler)):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def run(script: str, version: str) -> bool:
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "VERSION": version}
        return subprocess.run(["sh", "-ec", script.replace(FOLDER, str(tmp_path))], env=environment).returncode == 0

    return run


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.source)
def test_it_is_compiled_anew_when_its_source_or_a_package_is(
    plugin: Plugin, node: Callable[[str, str], bool], tmp_path: Path
) -> None:
    command = next(one for one in plugin.compiled if isinstance(one, Command))
    source, library = tmp_path / plugin.source, tmp_path / Path(plugin.path).name
    headers = [tmp_path / name for name in plugin.headers]
    for file in (source, *headers):
        file.write_text("as it was")
    assert not node(command.unless, "5.7")
    assert node(command.run, "5.7") and library.read_text() == "5.7\n"
    assert node(command.unless, "5.7"), "nothing changed"
    assert not node(command.unless, "5.8"), "its packages changed"
    assert node(command.run, "5.8") and node(command.unless, "5.8") and library.read_text() == "5.8\n"
    for file in (source, *headers):
        os.utime(file)
        assert node(command.unless, "5.8"), "made of the same, whatever the times that an image keeps"
        file.write_text("another")
        assert not node(command.unless, "5.8"), f"{file.name} changed"
        file.write_text("as it was")
    library.unlink()
    assert not node(command.unless, "5.8"), "it is gone"


def test_what_a_source_includes_lies_beside_it() -> None:
    for plugin in PLUGINS:
        written = {Path(one.path).name: one.data.decode() for one in plugin.compiled if isinstance(one, File)}
        assert set(re.findall(r'^#include "([a-z.]+)"$', written[plugin.source], re.M)) == set(plugin.headers)
        assert set(written) == {plugin.source, *plugin.headers}


def test_another_way_to_compile_it_makes_its_source_another() -> None:
    plugin = element.ROOM
    one, other = (
        next(one for one in made.compiled if isinstance(one, File)) for made in (plugin, replace(plugin, libraries="-lother"))
    )
    assert one.path == other.path and one.digest != other.digest


def test_a_server_starts_anew_with_another_plug_in() -> None:
    wanted = Wanted("storage.element", tuple(element.configure("se.af.test", "https://id.af.test", "af", {})))
    unit = next(one for one in wanted.resources if isinstance(one, Unit) and one.name == element.UNIT)
    before = wanted.resources[: wanted.resources.index(unit)]
    assert {one.path for plugin in element.PLUGINS for one in plugin.compiled if isinstance(one, File)} <= {
        one.path for one in before if isinstance(one, File)
    }
