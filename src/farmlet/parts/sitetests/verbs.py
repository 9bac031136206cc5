"""The actions of `farmlet sitetest`, described once: at the admin's command line and at the program on the node, which gets what
was given as `spell` writes it. Standard library only."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from farmlet.runtime.numbers import number, whole

ACTIONS = {
    "list": "the tests, and whether new drones may go to each site",
    "run": "run tests now and wait for their results",
    "show": "the last results, with what the tests said",
    "close": "keep new drones away from a site, maintenance say, with a reason; now or later",
    "open": "end what `close` began or planned; the tests alone decide again",
    "history": "when gates closed and opened, and why",
}
WAIT = 420  # seconds


def describe(parser: argparse.ArgumentParser, action: str) -> None:
    """Put the arguments of `action` on its command line."""
    if action in ("run", "show"):
        parser.add_argument("test", nargs="?", default="", metavar="TEST", help="only this test")
        parser.add_argument("--site", default="", help="only at this site")
    if action == "run":
        parser.add_argument("--wait", type=whole, default=WAIT, metavar="SECONDS", help=f"for results (default: {WAIT})")
    if action == "show":
        parser.add_argument("--last", type=whole, default=1, metavar="N", help="results of each test at each site (default: 1)")
    if action in ("close", "open"):
        parser.add_argument("site", metavar="SITE")
    if action == "close":
        parser.add_argument("--reason", required=True, help="for who looks at it")
        parser.add_argument("--start", type=read_time, default=0.0, metavar="TIME", help="YYYY-MM-DD HH:MM, UTC (default: now)")
        parser.add_argument("--hours", type=number, default=0.0, metavar="N", help="how long (default: until `open`)")
    if action == "history":
        parser.add_argument("site", nargs="?", default="", metavar="SITE", help="of this site only")
        parser.add_argument("--days", type=number, default=7.0, metavar="N", help="how far back (default: 7)")


def read_time(text: str) -> float:
    """Seconds since 1970 of a time as people write it, or of that number. Raises ArgumentTypeError."""
    with suppress(ValueError):
        return number(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 2027-01-31 08:00") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def spell(action: str, given: Mapping[str, Any]) -> list[str]:
    """The words that say the action and what was `given`."""
    words = [action]
    for name in ("wait", "last", "reason", "start", "hours", "days"):
        if name in given:
            words.append(f"--{name}={given[name]}")
    if action in ("run", "show"):
        # in one word, so that a value that begins with a dash is not taken for an option
        words += [f"--site={given['site']}"] if given["site"] else []
        words += ["--", given["test"]] if given["test"] else []
    if action in ("close", "open", "history"):
        words += ["--", given["site"]] if given["site"] else []
    return words
