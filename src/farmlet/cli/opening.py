"""From the command line to a facility: which file, its parts, its stand-in sites, its deployment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from farmlet.engine.deployment import Deployment
from farmlet.engine.report import Report
from farmlet.engine.store import Store
from farmlet.errors import InputError
from farmlet.facility.load import default_text, load, loads
from farmlet.facility.model import Facility
from farmlet.parts.accounts.admin import ExternalMembers
from farmlet.parts.identity.admin import OwnMembers
from farmlet.parts.members import Members
from farmlet.parts.part import Part, find
from farmlet.standins import standins


def open_facility(args: argparse.Namespace) -> tuple[Facility, dict[str, Part]]:
    """The facility file named, in the environment, in this folder, or the built-in sandbox."""
    parts = find()
    named = args.facility or os.environ.get("FARMLET_FACILITY")
    if named or Path("facility.yaml").exists():
        return load(Path(named or "facility.yaml"), parts), parts
    return loads(default_text(), "the built-in sandbox", parts, Path.cwd()), parts


def open_deployment(args: argparse.Namespace, running: bool = False) -> Deployment:
    """The deployment of that facility; with `running`, InputError unless `up` has made it."""
    facility, parts = open_facility(args)
    store = Store(facility.folder or Path.cwd(), facility.name)
    deployment = Deployment(facility, parts, standins(facility), store, Report(verbose=args.verbose))
    if running and not store.exists():
        if deployment.sandbox.contained() and deployment.sandbox.reachable():
            deployment.sandbox.owned()  # says so where it is up from another folder
        hint = "go to the folder where it was made, or name its file: --facility FILE. If there is none yet: farmlet up"
        raise InputError(f"facility {facility.name}", f"is not up from here: nothing at {store.path}", hint)
    return deployment


def open_members(deployment: Deployment) -> Members:
    """The members of a running facility, whoever keeps them."""
    return ExternalMembers(deployment) if deployment.facility.external else OwnMembers(deployment)
