"""The report that tests of PyPI's resource-availability-monitoring leave, taken as it is: `job_result.yaml`, with
`tests: [{test: NAME, passed: BOOL, message: TEXT}, …]`. It is a site's word, so it is read by types and within sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 16 * 1024  # bytes; the runner brings no more
MOST = 200  # tests of a report


@dataclass(frozen=True)
class Line:
    """What one test of the report says."""

    name: str
    passed: bool
    message: str

    def __str__(self) -> str:
        return f"{'ok' if self.passed else 'FAILED'}: {self.name}: {self.message}"


@lru_cache(maxsize=1000)  # most reports say what the last one said
def read(text: str) -> tuple[Line, ...]:
    """The tests of a report. Raises ValueError with what is wrong with it."""
    from ruamel.yaml import YAML  # a fifth of the service's memory, which few have a use for
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    text = text[:LONGEST]
    if text.count("[") + text.count("{") > 2 * MOST:  # the library takes a minute for 16 000 of them
        raise ValueError("job_result.yaml cannot be read: it has too many brackets")
    try:
        # a few lines with aliases can stand for as many as one likes
        if "*" in text and any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)):
            raise ValueError("it has aliases")
        found = YAML(typ="safe", pure=True).load(text)
        rows = found["tests"]
        lines = tuple(
            Line(str(row.get("test", row.get("name", "")))[:100], row["passed"], str(row.get("message", ""))[:500])
            for row in rows
        )
    except (YAMLError, KeyError, TypeError, AttributeError, RecursionError, ValueError, OverflowError) as error:
        raise ValueError(
            f"job_result.yaml cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if not lines or len(lines) > MOST or not all(isinstance(line.passed, bool) for line in lines):
        raise ValueError(f"job_result.yaml has no tests, more than {MOST}, or one that neither passed nor failed")
    return lines


def sum_up(lines: Sequence[Line]) -> tuple[bool, str]:
    """Whether all passed, and that in one line."""
    failed = [line for line in lines if not line.passed]
    words = "; ".join(f"{line.name}: {line.message}" for line in failed)
    return not failed, words or f"{len(lines)} tests pass"
