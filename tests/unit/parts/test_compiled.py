"""What is compiled on nodes."""

from __future__ import annotations

import sys

import pytest

from farmlet.parts.access.motley import MODULE
from farmlet.parts.compiled import Plugin
from farmlet.parts.resources import Command, File
from farmlet.parts.storage.element import PATHS, ROOM, TRANSFER

PLUGINS = (MODULE, PATHS, ROOM, TRANSFER)


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
