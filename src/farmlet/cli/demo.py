"""`farmlet demo`: the main job, as a member who did not exist a minute ago."""

from __future__ import annotations

import argparse
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from farmlet.cli.opening import open_deployment, open_members
from farmlet.cli.options import print_either, print_json
from farmlet.demo.run import StepFailed, ensure_private
from farmlet.demo.run import run as play
from farmlet.demo.stage import Guest, Stage
from farmlet.engine.deployment import Deployment
from farmlet.engine.status import endpoints
from farmlet.errors import FarmletError, InputError
from farmlet.facility.model import Facility
from farmlet.parts.access.login import about
from farmlet.runtime.files import write
from farmlet.runtime.issuer import screen

DRONES = ["condor_status", "-constraint", "TardisDroneUuid =!= undefined", "-af", "Name"]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group",
        default="",
        help="the member's group (default: the file's first that may log in, or at an external issuer write)",
    )
    parser.add_argument("--workdir", type=Path, default=Path("farmlet-demo"), help="where results go (default: farmlet-demo)")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    ensure_private(args.workdir.resolve())  # before anything is asked of anybody
    stage = set_stage(deployment, args.group, args.workdir.resolve())
    try:
        report = play(stage)
    except StepFailed as failed:
        if args.json:
            print_json(failed.report.to_json())
        raise
    print_either(args, report.to_json(), "\n".join(report.summarise()))
    return 0


def set_stage(deployment: Deployment, group: str, workdir: Path) -> Stage:
    """The facility as a member's own machine sees it; registering and looking at the pool stay the admin's."""
    facility = deployment.facility
    chosen, group = group, group or next((path for path, one in facility.groups.items() if one.login), "")
    if group not in facility.groups:
        raise InputError("farmlet demo --group", f"{group or 'nothing'} is no group of the facility file that may log in")
    found = endpoints(deployment)
    storage = next((url for name, url in found.items() if name.startswith("storage@")), "")
    if not storage:
        raise InputError("farmlet demo", "no site of this facility has storage to put data on", "add a site (see the sandbox)")
    bundle = deployment.store.path / "bundle.pem"
    sites = deployment.sites()
    theirs = load_authorities() if facility.external else ""  # our own issuer is vouched for by the facility's
    write(bundle, (deployment.layout.authority().ensure() + "".join(site.ca for site in sites.values()) + theirs).encode())
    members = open_members(deployment)

    def pool() -> list[str]:
        return deployment.run(facility.host("batch.central").name, DRONES).split()

    return Stage(
        issuer=found["issuer"],
        host=facility.hosts("access.login")[0].fqdn,
        storage=storage,
        cafile=bundle,
        signer=f"{facility.public_url}/ssh/sign",
        authority=_host_authority(facility.public_url, bundle),
        names=f"*.{facility.domain}",
        workdir=workdir,
        cache=Path.home() / ".cache" / "farmlet",
        register=lambda name, to: str(members.change("add", name, f"--group={to}")["join"]),
        pool=pool,
        notebooks=found.get("notebooks", ""),
        group=group,
        links=find_links(found, storage),
        guest=invite(facility, chosen, bundle) if facility.external else None,
    )


def find_links(found: Mapping[str, str], storage: str) -> dict[str, str]:
    """Where to look at the end, by title: services, and the pages that show what was done. `found`: the endpoints."""
    links = {name: found[name] for name in ("notebooks",) if name in found} | {"identity": found["issuer"], "storage": storage}
    if page := found.get("monitoring"):
        links |= {"its jobs": f"{page}/?page=queue", "its drones": f"{page}/?page=overlay"}
    return links | ({"tests of its site": found["sitetests"]} if "sitetests" in found else {})


def invite(facility: Facility, group: str, cafile: Path) -> Guest:
    """How a member of an external issuer plays, by what `farmlet login` is told. Raises FarmletError where no client is named."""
    told = about.load(facility.public_url, str(cafile))
    jobs = str(getattr(facility.parts["tokens"], "client", ""))
    shared = {path: [to for to in one.storage.write if "{user}" not in to] for path, one in facility.groups.items()}
    folders = {facility.claim(path): to[0].rstrip("/") for path, to in shared.items() if to and group in ("", path)}
    return Guest(told.client, jobs, told.scope, folders, lambda started: screen.show(started, qr=True))


def load_authorities() -> str:
    """Whom this machine trusts (PEM)."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_text() if path and Path(path).exists() else ""


def _host_authority(url: str, cafile: Path) -> str:
    """The public key (`type base64`) that vouches for the facility's SSH hosts."""
    try:
        with urllib.request.urlopen(
            f"{url}/ssh/known_hosts", timeout=20, context=ssl.create_default_context(cafile=cafile)
        ) as answer:
            line = answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise FarmletError(
            f"{url}/ssh/known_hosts", f"does not answer: {error}", "farmlet status; farmlet logs service"
        ) from error
    return " ".join(line.split()[2:4])
