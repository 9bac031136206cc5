"""Numbers as the text of Prometheus: whatever is in a label, a reader gets all the others too."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.runtime.metrics import MOST, Sample, cut, render

VALUE = re.compile(r'farmlet_x\{who="((?:[^"\\]|\\.)*)"\} 1\.0\n')


def test_a_family_has_its_unit_kind_and_help() -> None:
    text = render(
        [
            Sample("disk_free", 5, {"path": "/a"}, "bytes", help="what is\nleft"),
            Sample("jobs_ended", 2.5, kind="counter"),
            Sample("disk_free", 6, {"path": "/b", "kind": "ssd"}, "bytes"),
        ]
    )
    assert text == (
        "# HELP farmlet_disk_free_bytes what is\\nleft\n# TYPE farmlet_disk_free_bytes gauge\n"
        'farmlet_disk_free_bytes{path="/a"} 5.0\nfarmlet_disk_free_bytes{kind="ssd",path="/b"} 6.0\n'
        "# TYPE farmlet_jobs_ended_total counter\nfarmlet_jobs_ended_total 2.5\n"
    )


@given(st.text(st.characters()))
def test_a_label_holds_anything(text: str) -> None:
    lines = render([Sample("x", 1, {"who": text})]).split("# TYPE farmlet_x gauge\n")[1]
    found = VALUE.fullmatch(lines)
    assert found and "\n" not in found[1]
    plain = re.sub(r"\\(.)", lambda escaped: "\n" if escaped[1] == "n" else escaped[1], found[1])
    assert plain == text.encode(errors="replace").decode()


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (10**15, "1000000000000000.0")]
)
def test_values(value: float, text: str) -> None:
    # strconv.ParseFloat, by which readers go, takes Python's words for what is no number
    assert render([Sample("x", value)]).endswith(f"farmlet_x {text}\n")


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ([Sample("x", 1, {"a": "1"}), Sample("x", 2, {"a": "1"})], "twice"),
        ([Sample("x y", 1)], "no name"),
        ([Sample("x", 1, {'a="b",c': "1"})], "no name"),
        ([Sample("x", 1, unit="m/s")], "no name"),
    ],
)
def test_what_would_cost_the_whole_file_is_refused(samples: list[Sample], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        render(samples)


def test_labels_that_explode_cost_their_own_name_only() -> None:
    many = [Sample("x", 1, {"a": str(number)}) for number in range(MOST + 7)]
    kept, lost = cut([*many, Sample("y", 1)])
    assert len(kept) == MOST + 1 and kept[-1].name == "y" and lost == {"farmlet_x": 7}
