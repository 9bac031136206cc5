"""What is compiled on nodes."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from farmlet.parts.access.motley import MODULE
from farmlet.parts.compiled import Plugin
from farmlet.parts.resources import Command, File, Unit, Wanted
from farmlet.parts.storage import element

PLUGINS = (MODULE, *element.PLUGINS)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.source)
def test_no_plug_in_is_taken_for_a_module_of_python(plugin: Plugin) -> None:
    """Programs of ours lie in the same folder, which Python looks through first when it runs them."""
    assert plugin.source.split(".")[0] not in sys.stdlib_module_names


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.source)
def test_it_is_compiled_anew_when_its_source_is(plugin: Plugin) -> None:
    source = next(one for one in plugin.compiled if isinstance(one, File))
    command = next(one for one in plugin.compiled if isinstance(one, Command))
    assert command.unless == f"test {plugin.path} -nt {source.path}"
    assert f"-o {plugin.path}.new" in command.run and command.run.endswith(f"mv {plugin.path}.new {plugin.path}")


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
