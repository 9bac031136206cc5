"""`farmlet images`: the software images of the facility, by the program of the part on the node that builds them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_actions, print_json, print_table
from farmlet.parts.software import verbs
from farmlet.parts.software.admin import ask


def add(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, verbs.ACTIONS, verbs.describe)


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    name, given = getattr(args, "name", ""), deployment.sources()
    sources = {**given.environment, "bundle": given.bundle.decode()}
    found = ask(deployment, args.action, name, sources if args.action == "build" else {})
    if args.json:
        print_json(found)
    else:
        tell(found)
    return 1 if args.action != "list" and any(row["error"] for row in found if name in ("", row["name"])) else 0


def tell(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            row["name"],
            "yes" if row["offered"] else "no",
            row["digest"][:12] or "-",
            f"{row['size'] / 1e6:.0f} MB" if row["size"] else "-",
            datetime.fromtimestamp(row["tested"], UTC).strftime("%Y-%m-%d %H:%M") if row["tested"] else "-",
            row["base"] or "-",
            row["title"],
        )
        for row in found
    ]
    print_table(rows, ("image", "offered", "content", "size", "tested (UTC)", "from", "title"))
    for row in found:
        if row["error"]:
            print(f"\n{row['error']}")
            wished = ":" in row["base"]  # FILE:LINE
            asked = "registries are asked each hour" if wished else f"or `farmlet images build {row['name']}`"
            print(f"next: mend it, `farmlet up` if the file changed, {asked}")
        if row["note"]:
            print(f"\n{row['name']}: {row['note']}")
