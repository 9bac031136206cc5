from __future__ import annotations

import io
import re

import pytest

from farmlet.engine.apply import Done
from farmlet.engine.report import Report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_a_phase() -> None:
    stream = io.StringIO()
    report = Report(stream)
    with report.phase("nodes"):
        assert stream.getvalue() == "", "no half lines in a log"
    assert re.fullmatch(r"  ✓ nodes \(\d+\.\d s\)\n", stream.getvalue())


def test_a_phase_that_fails_says_so_and_passes_the_error_on() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Report(stream).phase("nodes"):
        raise KeyboardInterrupt
    assert "✗ nodes" in stream.getvalue() and "✓" not in stream.getvalue()


def test_a_terminal_is_drawn_on() -> None:
    stream = Terminal()
    with Report(stream).phase("nodes"):
        assert "nodes …" in stream.getvalue() and not stream.getvalue().endswith("\n")
    assert stream.getvalue().rsplit("\r\033[K", 1)[1].startswith("  ✓ nodes")


@pytest.mark.parametrize("verbose", [False, True])
def test_steps_are_told_when_asked_for_or_failed(verbose: bool) -> None:
    stream = io.StringIO()
    report = Report(stream, verbose)
    report.done(Done("head", "file /etc/x", True, 0.25))
    assert ("head: file /etc/x (0.2 s)" in stream.getvalue()) is verbose
    report.done(Done("head", "step y", False, 1, "why"))
    assert "✗ head: step y (1.0 s)" in stream.getvalue()
    assert report.operations == 2


def test_colour_is_never_used() -> None:
    stream = Terminal()
    report = Report(stream, verbose=True)
    with report.phase("nodes"):
        report.done(Done("head", "x", True, 1))
    assert not re.search(r"\033\[[0-9;]*m", stream.getvalue())
