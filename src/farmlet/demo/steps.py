"""The demo's steps. Each is a function of the play so far: it returns one line of evidence or raises FarmletError."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import Any, TypeVar

from farmlet.demo.browser import Browser
from farmlet.demo.data import ROWS, SHA256, ensure_data, measure
from farmlet.demo.jobs import Batch, check_reports, cut_rows, render_submit
from farmlet.demo.machine import Machine
from farmlet.demo.notebook import Hub, run_notebook, send_jobs
from farmlet.demo.stage import Member, Stage
from farmlet.errors import FarmletError
from farmlet.facility.places import SSH
from farmlet.runtime.files import write
from farmlet.runtime.issuer.jwt import peek
from farmlet.runtime.oauth import DeviceFlow, Tokens, refresh

FOLDER = "farmlet-demo"  # in the member's home on the log-in node
CLIENT = "farmlet"  # the public client of people's own machines
BATCH_CLIENT = "batch"  # the public client whose refresh token the access point keeps for jobs
ACCOUNT_PATIENCE, POOL_PATIENCE, JOB_PATIENCE = 60.0, 180.0, 420.0  # seconds

Found = TypeVar("Found")


@dataclass
class Play:
    """The demo while it runs."""

    stage: Stage
    member: Member
    machine: Machine
    browser: Browser
    hub: Hub | None = None  # once the member's server runs
    software: list[tuple[str, str, str]] = field(default_factory=list)  # where, which image, which versions were printed

    def note(self, where: str, report: Mapping[str, Any]) -> None:
        """What a process of the analysis said of its software."""
        self.software.append((where, report["image"], report["versions"]))

    def close(self) -> None:
        """End the member's server."""
        if self.hub:
            self.hub.stop()

    @property
    def scope(self) -> str:
        """What this member needs of the storage: read everything, write their own directory (WLCG profile)."""
        if self.stage.guest:
            return self.stage.guest.scope
        return f"storage.read:/ storage.modify:/users/{self.member.name}"

    def authorise(self, client: str, scope: str, audience: str = "") -> Tokens:
        """One device flow (RFC 8628): this machine asks, the member's browser allows, or the member in their own."""
        flow = DeviceFlow(self.stage.issuer, client, str(self.stage.cafile))
        started = flow.start(scope, audience) if audience else flow.start(scope)
        if self.stage.guest:
            self.stage.guest.show(started)
        else:
            self.browser.allow(started.verification_uri_complete, self.member.name, self.member.password)
        return flow.wait(started)

    def ask_for_log_in(self) -> Tokens:
        """A token that opens a log-in. A guest has allowed that client already, and an IAM gives any audience at a refresh."""
        guest, member = self.stage.guest, self.member
        if guest is None:
            return self.authorise(CLIENT, "openid", SSH)
        cafile = str(self.stage.cafile)
        tokens = refresh(self.stage.issuer, guest.client, member.refresh, cafile, scope="openid", audience=SSH)
        member.refresh = tokens.refresh_token or member.refresh
        return tokens


def join(play: Play) -> str:
    """A new member: registered and approved by the admin, sets a password by the one-time link."""
    stage, member = play.stage, play.member
    link = stage.register(member.name, stage.group)
    play.browser.join(link, member.name, member.password)
    write(stage.workdir / "password", f"{member.password}\n".encode(), 0o600)
    return f"{member.name} is a member of {stage.group}"


def meet(play: Play) -> str:
    """A member whom the external issuer keeps allows what `farmlet login` asks for; says who it is and where they may write."""
    stage, member, guest = play.stage, play.member, play.stage.guest
    assert guest is not None
    tokens = play.authorise(guest.client, f"openid offline_access {guest.scope}")
    claims = load_claims(tokens.access_token)
    groups = [str(name) for name in claims.get("wlcg.groups", ())]
    member.token, member.refresh = tokens.access_token, tokens.refresh_token
    member.folder = next((path for name, path in guest.folders.items() if name in groups), "")
    if not member.folder:
        told = f"the member is in {', '.join(groups) or 'no group'}, and none of these may write to storage"
        raise FarmletError(
            stage.issuer, told, f"play as a member of {' or '.join(guest.folders) or 'a group with storage: write'}"
        )
    if not member.refresh:
        raise FarmletError(stage.issuer, f"gave no refresh token to {guest.client}", "farmlet check accounts")
    return (
        f"{claims['iss']} for {claims['sub']}: {' '.join(groups)}, {claims['exp'] - time.time():.0f} s; "
        f"data go to {member.folder}"
    )


def take_token(play: Play) -> str:
    """A token for storage by device flow; says whose it is and what it allows."""
    tokens = play.authorise(CLIENT, f"openid {play.scope}")
    claims = load_claims(tokens.access_token)
    if claims.get("preferred_username") != play.member.name:
        raise FarmletError(play.stage.issuer, f"the token is for {claims.get('preferred_username')!r}")
    missing = set(play.scope.split()) - set(str(claims.get("scope", "")).split())
    if missing:
        raise FarmletError(play.stage.issuer, f"the token does not allow {' '.join(sorted(missing))}")
    play.member.token = tokens.access_token
    return f"{claims['iss']} for {claims['preferred_username']}: {claims['scope']}, {claims['exp'] - time.time():.0f} s"


def log_in(play: Play) -> str:
    """Plain ssh with a certificate; the node is known by its authority, so nothing is asked."""
    tokens = play.ask_for_log_in()
    principal = play.machine.sign_key(play.machine.make_key(), tokens.access_token)
    if play.stage.guest:
        play.member.name = principal  # the facility's name for them
        play.member.result["member"] = principal
    if principal != play.member.name:
        raise FarmletError(play.stage.signer, f"the certificate is for {principal}, not {play.member.name}")
    said = wait_for(lambda: play.machine.ssh("id", timeout=30).strip(), ACCOUNT_PATIENCE)
    # a guest is in what groups the issuer has them in
    group = principal if play.stage.guest else play.stage.group.replace("/", "-")
    if f"({principal})" not in said or f"({group})" not in said:
        raise FarmletError(f"ssh {play.stage.host}", f"not {principal} in {group}: {said}")
    return said


def put_data(play: Play) -> str:
    """Recorded data onto the site's storage by WebDAV, and back; refused without the token."""
    machine, url = play.machine, f"{play.member.home(play.stage)}/data.root"
    source = ensure_data(play.stage.cache)
    sent = machine.curl(url, "--upload-file", str(source), "--output", "/dev/null", token=play.member.token)
    expect(url, "PUT", sent, "200", "201", "204")
    copy = play.stage.workdir / "returned.root"
    expect(url, "GET", machine.curl(url, "--output", str(copy), token=play.member.token), "200")
    if measure(copy) != SHA256:
        raise FarmletError(url, "what came back is not what was put there")
    bare = machine.curl(url, "--output", "/dev/null")
    expect(url, "GET without a token", bare, "401", "403")
    return f"{url}: {copy.stat().st_size} bytes, sha256 {SHA256[:12]}… read back; without a token HTTP {bare}"


def open_notebook(play: Play) -> str:
    """A server of the member's own, started from the browser."""
    if not play.stage.notebooks:
        return "this facility has no notebooks"
    play.hub = Hub(play.stage.notebooks, play.browser, play.member)
    began = time.monotonic()
    play.hub.start()
    play.member.result["notebook_seconds"] = round(time.monotonic() - began, 1)
    return f"{play.hub.server}, up after {time.monotonic() - began:.0f} s"


def run_jobs(play: Play) -> str:
    """Jobs at the site, on drones that did not exist, and one on a slot of the facility's own: submitted from the notebook, if
    there is one; run, read and wrote by token."""
    stage, member, machine = play.stage, play.member, play.machine
    await_empty(play)
    hand_over(play)
    names = prepare_jobs(play)
    began = time.monotonic()
    if play.hub:
        said = send_jobs(play.hub, machine, FOLDER, names)
    else:
        said = machine.ssh(f"cd {FOLDER} && " + " && ".join(f"condor_submit -terse {name}" for name in names))
    batch = Batch.submit(machine, FOLDER, stage.jobs, said)
    done = batch.wait(stage.pool, JOB_PATIENCE)
    seconds = time.monotonic() - began
    reports = batch.load_reports()
    counts = check_reports(reports, done, ROWS)
    for row, report in zip(done, reports, strict=True):
        play.note(f"jobs at {row.site}", report)
    if len(names) > 1:
        play.note("a job on a slot of our own", wait_for(batch.load_own, POOL_PATIENCE))
    member.result["images"] = sorted({report["image"] for report in reports})
    sites = sorted({row.site for row in done})
    slots = sorted({row.host for row in done})
    images = sorted({report["image"].partition(" ")[0] for report in reports})
    member.result |= {"jobs": len(done), "sites": sites, "slots": slots, "counts": counts}
    member.result["batch_seconds"] = round(seconds, 1)
    where = f"at {', '.join(sites)} in image {', '.join(images)}"
    drones = f"the first drone came after {batch.first:.0f} s; slots {', '.join(slots)}"
    return f"{len(done)} jobs in {seconds:.0f} s {where}{', sent from the notebook' if play.hub else ''}; {drones}"


def prepare_jobs(play: Play) -> list[str]:
    """The analysis and the submit files in the member's home: for the site, and for a slot of our own if there is one."""
    stage, member, machine = play.stage, play.member, play.machine
    with as_file(files("farmlet.demo") / "analysis") as folder:
        machine.ssh(f"rm -rf {FOLDER} && mkdir -m 700 {FOLDER} && mkdir {FOLDER}/jobs {FOLDER}/analysis")
        sources = sorted(path for path in folder.iterdir() if path.suffix == ".py")
        machine.send(sources, f"{FOLDER}/analysis/")
    home, slices = member.home(stage), cut_rows(ROWS, stage.jobs)
    # a wheel does not keep the mode that condor_submit wants of an executable
    write_jobs = f"chmod 755 {FOLDER}/analysis/dimuon.py && cat > {FOLDER}/jobs.sub"
    look = "condor_status -constraint 'FarmletSite =?= undefined' -af Name | head -n 1"
    own = machine.ssh(f"{write_jobs} && {look}", render_submit(stage.image, home, slices).encode()).strip()
    if not own:
        return ["jobs.sub"]
    machine.ssh(f"cat > {FOLDER}/own.sub", render_submit(stage.image, home, slices[:1], own=True).encode())
    return ["jobs.sub", "own.sub"]


def hand_over(play: Play) -> None:
    """The consent that condor_submit asks for on a terminal, given beforehand: here is none."""
    guest = play.stage.guest
    client, scope = (guest.jobs, f"wlcg {play.scope}") if guest else (BATCH_CLIENT, play.scope)
    tokens = play.authorise(client, f"offline_access {scope}")
    if not tokens.refresh_token:
        raise FarmletError(play.stage.issuer, f"no refresh token for the client {client}")
    play.machine.ssh("farmlet-credential --stdin", f"{tokens.refresh_token}\n".encode())


def fit_peak(play: Play) -> str:
    """Merge, fit and draw on the log-in node, in the jobs' image; bring the results home."""
    stage, member, machine = play.stage, play.member, play.machine
    urls = " ".join(f"{member.home(stage)}/histogram-{index}.root" for index in range(stage.jobs))
    settings = "BEARER_TOKEN_FILE=/work/token,SSL_CERT_FILE=/work/authorities.pem,MPLCONFIGDIR=/tmp"
    script = (
        f"cd {FOLDER} && umask 077 && trap 'rm -f token' EXIT && cat > token && cp {stage.bundle} authorities.pem && "
        f'apptainer --quiet exec --containall --bind "$PWD:/work" --pwd /work --env {settings} {stage.image} '
        f"python3 -m analysis.fit --rows {ROWS} --directory results {urls}"
    )
    machine.ssh(script, member.token.encode(), timeout=180)
    names = ("fit.json", "plot.png", "plot.pdf")
    machine.receive([f"{FOLDER}/results/{name}" for name in names], stage.workdir)
    found = json.loads((stage.workdir / "fit.json").read_text())
    play.note("shell", found.pop("shell"))
    member.result |= found
    return (
        f"m(Z) = {found['mass']:.2f} ± {found['mass_error']:.2f} GeV, χ²/ndf = {found['chi2']:.1f}/{found['ndf']}, "
        f"{found['fitted']} pairs out of {found['rows']} rows"
    )


def run_again(play: Play) -> str:
    """The analysis as a notebook, with the result of the jobs and the software of job and shell."""
    hub, member = play.hub, play.member
    if hub is None:
        return f"this facility has no notebooks; {compare(play.software)}"
    found = run_notebook(hub, play.machine, FOLDER, f"{member.home(play.stage)}/data.root")
    play.close()
    if found["mass"] != member.result["mass"]:
        raise FarmletError(hub.url, f"m(Z) = {found['mass']} GeV in the notebook, {member.result['mass']} from the jobs")
    play.note("notebook", found)
    member.result |= {"notebook": found, "software": play.software}
    return f"m(Z) = {found['mass']:.2f} GeV as uid {found['uid']}; {compare(play.software)}"


def compare(software: Sequence[tuple[str, str, str]]) -> str:
    """The one image, and its versions, that all who printed it have. Raises FarmletError when there are several."""
    found = dict.fromkeys((image, versions) for _, image, versions in software)
    if len(found) > 1:
        told = "; ".join(dict.fromkeys(f"{where} has {image}: {versions}" for where, image, versions in software))
        raise FarmletError("software", f"is not the same everywhere: {told}", "farmlet check software")
    ((image, versions),) = found
    name, _, digest = image.partition(" ")
    places = ", ".join(dict.fromkeys(where for where, *_ in software))
    return f"image {name} {digest[:12]} with {versions} in {places}"


def await_empty(play: Play) -> str:
    """No drone is left in the pool."""
    began = time.monotonic()

    def look() -> str:
        if slots := list(play.stage.pool()):
            raise FarmletError("overlay pool", f"{len(slots)} drone slots are there: {', '.join(slots[:4])}")
        return "no drone slot in the pool"

    return f"{wait_for(look, POOL_PATIENCE)} after {time.monotonic() - began:.0f} s"


def wait_for(look: Callable[[], Found], patience: float, pause: float = 2.0) -> Found:
    """What `look` returns once it no longer raises FarmletError; its last error after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return look()
        except FarmletError as error:
            if time.monotonic() + pause > deadline:
                raise FarmletError(error.where, f"{error.what} (waited {patience:.0f} s)", error.hint) from error
        time.sleep(pause)


def expect(url: str, what: str, status: str, *wanted: str) -> None:
    if status not in wanted:
        raise FarmletError(url, f"{what} gave HTTP {status}, not {' or '.join(wanted)}", "farmlet logs")


def load_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT (RFC 7519), unverified: this machine only shows them, services verify them."""
    try:
        return peek(token)
    except ValueError as error:
        digest = hashlib.sha256(token.encode()).hexdigest()[:12]
        raise FarmletError("token", f"not a JWT (sha256 {digest})") from error


STEPS: tuple[tuple[str, Callable[[Play], str]], ...] = (
    ("a new member joins", join),
    ("a token by device flow", take_token),
    ("ssh with a certificate", log_in),
    ("recorded data on the site's storage", put_data),
    ("a notebook server starts", open_notebook),
    ("jobs run at the site", run_jobs),
    ("the Z peak is fitted", fit_peak),
    ("the same in the notebook", run_again),
    ("the drones leave", await_empty),
)
# of a member who is at an external issuer already
GUEST_STEPS = (("a member allows it", meet), *STEPS[2:])
