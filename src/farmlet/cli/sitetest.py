"""`farmlet sitetest`: what tests of the sites found, by the program of the part on the control node."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_actions, print_json, print_table
from farmlet.parts.sitetests import verbs
from farmlet.parts.sitetests.admin import ask


def add(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, verbs.ACTIONS, verbs.describe)


def run(args: argparse.Namespace) -> int:
    words = verbs.spell(args.action, vars(args))
    found = ask(open_deployment(args, running=True), words, getattr(args, "wait", 0))
    if args.json:
        print_json(found)
    elif args.action == "list":
        _list(found)
    elif args.action == "show":
        _show(found)
    elif args.action == "run":
        _table(found)
    elif args.action == "history":
        _history(found)
    else:
        print(f"site {found['site']}: {_gate(found)}")
        _plans(found)
    return 1 if args.action == "run" and any(row["code"] == 2 for row in found) else 0


def _list(found: Mapping[str, Any]) -> None:
    rows = [
        (one["test"], f"{one['every']} s", f"{one['timeout']} s", " ".join(one["sites"]) or "all", "yes" if one["gate"] else "no")
        for one in found["tests"]
    ]
    print_table(rows, ("test", "every", "timeout", "sites", "gate"))
    for fault in found["faults"]:
        print(f"not used: {fault}")
    for test in found["frozen"]:
        print(f"{test} fails at many sites, so most likely by a fault of ours: it moves no gate")
    for site in found["sites"]:
        day = site["day"]
        print(f"\nsite {site['site']}: {_gate(site)}; in the last day {day['jobs']} jobs, {day['seconds']:.0f} s")
        for one in found.get("slow", ()):
            if one["site"] == site["site"]:
                print(f"  {one['test']} takes {one['takes']:.0f} s there, so it runs each {one['every']:.0f} s, not sooner")
        _plans(site)
        _table(site["tests"])


def _plans(site: Mapping[str, Any]) -> None:
    for one in site["closures"]:
        until = f"to {_moment(one['until'])}" if one["until"] else "until `farmlet sitetest open`"
        print(f"  closed by hand from {_moment(one['since'])} {until}: {one['reason']}")


def _history(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [(_moment(one["at"]), one["site"], "opened" if one["ok"] else "closed", one["reason"]) for one in found]
    print_table(rows, ("at (UTC)", "site", "gate", "reason"))


def _gate(site: Mapping[str, Any]) -> str:
    if site["open"]:
        return "open to new drones"
    return f"no new drones since {_moment(site['since'])}: {site['reason']}"


def _table(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (one["result"], one["site"], one["test"], _moment(one["at"]), f"{one['text']} ({one['seconds']:.1f} s)") for one in found
    ]
    print_table(rows, ("result", "site", "test", "at (UTC)", "text"))


def _show(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        print("no result yet\nnext: farmlet sitetest run")
    for one in found:
        where = f"{one['site']}{' on ' + one['host'] if one['host'] else ''}"
        print(f"{one['test']} at {where}, {_moment(one['at'])} UTC, {one['seconds']:.1f} s: {one['result']}: {one['text']}")
        for label, number in one["numbers"].items():
            print(f"  {label} = {number['value']:g} {number['unit']}".rstrip())
        for line in one["output"].splitlines():
            print(f"  | {line}")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "-"
