"""Whatever stands in a facility file: it loads, or its author is told; nothing else may come out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from farmlet.errors import Errors, InputError
from farmlet.facility.catalog import PartSpec
from farmlet.facility.load import default_text, loads

WORDS = ["", "head", "lab/x", "lab-x", "batch", "batch.execute", "ssh", "builtin", "/a/..", "6G", "a b", "ä", "{user}"]
SCALARS = st.none() | st.booleans() | st.integers(-2, 70000) | st.floats() | st.sampled_from(WORDS)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
)
EVERY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the catalogue is never changed


def places(data: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in `data`."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [keys] + [found for key, value in inner for found in places(value, (*keys, key))]


def replace(data: Any, keys: tuple[Any, ...], value: Any) -> Any:
    if not keys:
        return value
    inner = dict(data) if isinstance(data, dict) else list(data)
    inner[keys[0]] = replace(data[keys[0]], keys[1:], value)
    return inner


def check(text: str, catalog: Mapping[str, PartSpec]) -> None:
    try:
        loads(text, "f.yaml", catalog)
    except Errors as error:
        lines = [int(re.fullmatch(r"f\.yaml:(\d+)", each.where)[1]) for each in error.errors]  # type: ignore[index]
        assert lines == sorted(lines)
        assert 1 <= lines[0] <= lines[-1] <= text.count("\n") + 1
        assert all(isinstance(each, InputError) and each.what for each in error.errors)


GOOD = YAML(typ="safe", pure=True).load(default_text())


@EVERY
@given(keys=st.sampled_from(places(GOOD)), junk=JUNK)
def test_any_value_anywhere(keys: tuple[Any, ...], junk: Any, catalog: Mapping[str, PartSpec]) -> None:
    check(json.dumps(replace(GOOD, keys, junk), indent=1), catalog)  # JSON is YAML 1.2, but for NaN, which is text there


@EVERY
@given(
    start=st.integers(0, len(default_text())),
    length=st.integers(0, 60),
    junk=st.text(alphabet="abz09:{}[]-&*!<|>#'\"%@`~,\n\t \x00\ufeff", max_size=8),
)
def test_any_damage(start: int, length: int, junk: str, catalog: Mapping[str, PartSpec]) -> None:
    text = default_text()
    check(text[:start] + junk + text[start + length :], catalog)
