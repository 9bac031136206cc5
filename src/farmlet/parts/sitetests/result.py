"""What a test found at a site, read out of `result.json`, which is that site's word: by types, and no more than we keep."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from farmlet.parts.sitetests import report

OK, WARNING, CRITICAL, UNKNOWN = range(4)  # exit codes of the monitoring plugins
WORDS = ("ok", "warning", "critical", "unknown")
# of the output of one test at one time this much is kept: its beginning, where a fault shows first, and its end
HEAD, TAIL = 16 * 1024, 48 * 1024
OUTPUT = HEAD + TAIL + 100
TEXT = 500  # characters
NUMBERS = 20  # of one result
PART = "/"  # between a test and one of those in its report
# monitoring plugins guidelines, performance data: 'label'=value[UOM];[warn];[crit];[min];[max]
NUMBER = re.compile(r"(?:'([^'=]{1,60})'|([^\s'=]{1,60}))=(-?[0-9.]+)([A-Za-z%]{0,5})(?:;\S*)?")


@dataclass(frozen=True)
class Result:
    """`at`: when the test began, seconds since 1970 by our clock. `numbers`: by label, with unit. `dropped`: bytes of output."""

    test: str
    code: int
    text: str
    at: float
    seconds: float = 0.0
    host: str = ""
    output: str = ""
    dropped: int = 0
    numbers: Mapping[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return WORDS[self.code]


def parse(data: bytes, tests: Collection[str], now: float | None = None) -> list[Result]:
    """A result for each of the `tests` that the job was to run, and for each in the report that one left, as TEST/NAME. Raises
    ValueError when the site's answer is none."""
    now = time.time() if now is None else now
    try:
        found = json.loads(data)
        host, rows = clean(str(found["host"]), 100), {str(row["name"]): row for row in found["results"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is not what the runner writes ({type(error).__name__})") from error
    results = []
    for name in tests:
        try:
            results.append(_read(name, rows[name], host, now))
            results += _split(results[-1], str(rows[name].get("report", "")))
        except (ValueError, KeyError, TypeError, OverflowError):
            results.append(Result(name, UNKNOWN, "the site tells no result of it that can be read", now, host=host))
    return results


def _read(name: str, row: Mapping[str, Any], host: str, now: float) -> Result:
    code, dropped, seconds = row["code"], row["dropped"], float(row["seconds"])
    if type(code) is not int or code not in range(4) or type(dropped) is not int or not math.isfinite(seconds):
        raise ValueError(name)
    text, _, numbers = str(row["text"]).partition("|")
    output = str(row["output"])
    if "report" in row:
        code, text, output = _take_report(code, text, str(row["report"]), output)
    # the clock at the site may be wrong, which is what one of the tests is about
    at = float(row["at"])
    at = at if now - 86400 < at <= now else now
    return Result(
        test=name,
        code=code,
        text=clean(text, TEXT),
        at=at,
        seconds=min(max(seconds, 0.0), 86400.0),
        host=host,
        output=clean(output, OUTPUT, "\n\t"),
        dropped=min(max(dropped, 0), 2**53),
        numbers=parse_numbers(numbers),
    )


def _take_report(code: int, text: str, told: str, output: str) -> tuple[int, str, str]:
    """Code, text and output of a test that left a report: it passes when it ended well and all in its report did."""
    try:
        lines = report.read(told)
    except ValueError as error:
        return (UNKNOWN if code == OK else code), clean(str(error), TEXT), output
    passed, words = report.sum_up(lines)
    listed = "\n".join(map(str, lines))[:HEAD]
    if not passed:
        code, text = CRITICAL, words
    return code, (words if code == OK else text), f"{listed}\n\n{output}"


def _split(whole: Result, told: str) -> list[Result]:
    """What the report says of each of its tests; the last of those that have one name."""
    with suppress(ValueError):  # told by the test itself
        plain = replace(whole, seconds=0.0, output="", dropped=0, numbers={})
        found = {f"{whole.test}{PART}{clean(line.name, 60)}": line for line in (report.read(told) if told else ())}
        return [
            replace(plain, test=name, code=CRITICAL * (not one.passed), text=clean(one.message, TEXT))
            for name, one in found.items()
        ]
    return []


def parse_numbers(text: str) -> dict[str, tuple[float, str]]:
    """The performance data behind a result's `|`; what is none is left out."""
    found = dict[str, tuple[float, str]]()
    for match in NUMBER.finditer(text[:4000]):
        label = clean(match[1] or match[2], 60)
        try:
            value = float(match[3])
        except ValueError:
            continue
        if len(found) < NUMBERS and math.isfinite(value):
            found[label] = (value, match[4])
    return found


def clean(text: str, most: int, more: str = "") -> str:
    """What a site says, as an admin's terminal can be shown it."""
    words = text.strip()[:most]
    if words.translate(dict.fromkeys(map(ord, more))).isprintable():  # letter by letter takes long
        return words
    return "".join(letter if letter.isprintable() or letter in more else "\ufffd" for letter in words)
