"""`farmlet demo`: the main job, as a member who did not exist a minute ago."""

from __future__ import annotations

import argparse
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import print_json
from farmlet.demo.run import StepFailed
from farmlet.demo.run import run as play
from farmlet.demo.stage import Stage
from farmlet.engine.deployment import Deployment
from farmlet.engine.members import Members
from farmlet.engine.status import endpoints
from farmlet.errors import FarmletError, InputError
from farmlet.runtime.files import write

DRONES = ["condor_status", "-constraint", "TardisDroneUuid =!= undefined", "-af", "Name"]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", default="", help="the new member's group (default: the file's first that may log in)")
    parser.add_argument("--workdir", type=Path, default=Path("farmlet-demo"), help="where results go (default: farmlet-demo)")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    stage = set_stage(deployment, args.group, args.workdir.resolve())
    try:
        report = play(stage)
    except StepFailed as failed:
        if args.json:
            print_json(failed.report.to_json())
        raise
    if args.json:
        print_json(report.to_json())
    else:
        print("\n".join(report.summarise()))
    return 0


def set_stage(deployment: Deployment, group: str, workdir: Path) -> Stage:
    """The facility as a member's own machine sees it; registering and looking at the pool stay the admin's."""
    facility = deployment.facility
    if facility.external:
        raise InputError("farmlet demo", f"registers a member, which is up to {facility.issuer}", "docs/howto/admin/indigo.md")
    group = group or next((path for path, one in facility.groups.items() if one.login), "")
    if group not in facility.groups:
        raise InputError("farmlet demo --group", f"{group or 'nothing'} is no group of the facility file that may log in")
    found = endpoints(deployment)
    storage = next((url for name, url in found.items() if name.startswith("storage@")), "")
    if not storage:
        raise InputError("farmlet demo", "no site of this facility has storage to put data on", "add a site (see the sandbox)")
    bundle = deployment.store.path / "bundle.pem"
    sites = deployment.sites()
    write(bundle, (deployment.layout.authority().ensure() + "".join(site.ca for site in sites.values())).encode())
    members = Members(deployment)

    def pool() -> list[str]:
        return deployment.run(facility.host("batch.central").name, DRONES).split()

    return Stage(
        issuer=found["issuer"],
        host=facility.hosts("access.login")[0].fqdn,
        storage=storage,
        cafile=bundle,
        signer=f"{facility.door}/ssh/sign",
        authority=_host_authority(facility.door, bundle),
        names=f"*.{facility.domain}",
        workdir=workdir,
        cache=Path.home() / ".cache" / "farmlet",
        register=lambda name, to: str(members.add(name, [to])["join"]),
        pool=pool,
        group=group,
        links={"identity": found["issuer"], "storage": storage},
    )


def _host_authority(door: str, cafile: Path) -> str:
    """The public key (`type base64`) that vouches for the facility's SSH hosts."""
    try:
        with urllib.request.urlopen(
            f"{door}/ssh/known_hosts", timeout=20, context=ssl.create_default_context(cafile=cafile)
        ) as answer:
            line = answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise FarmletError(
            f"{door}/ssh/known_hosts", f"does not answer: {error}", "farmlet status; farmlet logs service"
        ) from error
    return " ".join(line.split()[2:4])
