"""`farmlet explain job ID`: why a job is where it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_either
from farmlet.errors import InputError
from farmlet.parts.batch.admin import NUMBER, ask
from farmlet.parts.batch.why import Told, show
from farmlet.parts.overlay import admin as overlay


def tell(args: argparse.Namespace) -> int:
    if not NUMBER.fullmatch(args.id):
        raise InputError("farmlet explain job", f"{args.id!r} is no number of a job", "farmlet explain job 12.0")
    deployment = open_deployment(args, running=True)
    found = ask(deployment, args.id, overlay.ask(deployment))
    print_either(args, {"jobs": [asdict(job) for job in found]}, "\n".join(line for job in found for line in describe(job)))
    return 0


def describe(job: Told) -> list[str]:
    """What it is and since when, then why, with what to do."""
    where = f" at site {job.site} ({job.host})" if job.site else f" on {job.host}" if job.host else ""
    since = f" since {show(job.since)}" if job.since else ""
    lines = [f"job {job.id} of {job.owner} ({job.group or 'no group'}), submitted on {job.node}: {job.state}{where}{since}"]
    for reason in job.reasons:
        lines += [f"  {reason.text}", *([f"    next: {reason.next}"] if reason.next else [])]
    return lines
