"""From the moment an administrator says "suspend" until a log-in is refused: ours beside motley_cue's own, on the same node.

The peer is a second instance of the same program on the log-in node, as its documentation has it: it makes the accounts, and
an administrator named in its configuration calls `/admin/suspend` with a token. Its back end is `local_unix`, its default:
of `ldap` and `bwidm` the answer is "suspended" too, and nothing happens (feudalAdapter 2.0.4). It has a copy of /etc to itself,
with a PAM step and an sshd like ours, so that neither sees the accounts of the other. Rounds are interleaved.
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from logins import facility, fetch_mccli, wait
from record import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "facility"))
from person import Person
from sandbox import Sandbox
from test_3_motley import Client, read_claims

REPEATS = int(os.environ.get("REPEATS", "20"))
WEB, SSH = 8444, 2222
FOLDER = "/var/lib/farmlet-peer"
MOTLEY = """\
[mapper.otp]
db_location = {folder}/tokens.db
keyfile = {folder}/key
[authorisation.facility]
op_url = {issuer}
scopes = ["openid"]
audience = {audience}
authorise_all = True
authorised_admins = ["{admin}"]
"""
FEUDAL = """\
[ldf_adapter]
backend = local_unix
primary_group = lab
[messages]
log_file = {folder}/adapter.log
[approval]
enabled = False
[username_generator]
mode = friendly
[login_info]
ssh_host = {host}
[backend.local_unix]
home_base = {folder}/home
"""
FRONT = """\
{{
	admin off
	auto_https disable_redirects
}}
https://{host}:{web} {{
	tls /etc/farmlet/tls/proxy.crt /etc/farmlet/tls/proxy.key
	reverse_proxy unix//run/farmlet-proxy/motley.sock
}}
"""
PROGRAMS = """\
export MOTLEY_CUE_CONFIG={folder}/motley_cue.conf FEUDAL_ADAPTER_CONFIG={folder}/feudal_adapter.conf
export FLAAT_CONFIG=/etc/farmlet/motley/flaat.conf REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt HOME={folder}
/opt/farmlet/motley/bin/gunicorn --workers 2 --worker-class uvicorn_worker.UvicornWorker --forwarded-allow-ips='*' \\
  --no-control-socket --bind unix:/run/farmlet-proxy/motley.sock motley_cue.api:api &
caddy run --adapter caddyfile --config {folder}/Caddyfile &
exec /usr/sbin/sshd -D -p {ssh} -o PidFile=none
"""
# its accounts are in the files of its /etc alone, and begin where useradd begins
START = """
cp -a /etc {folder}/etc && mkdir {folder}/home {folder}/run && cd {folder}/etc
sed -i 's/ sss//' nsswitch.conf && sed -i /pam_sss/d pam.d/common-account pam.d/common-session
sed -i 's/\\(access.pam\\) [0-9]*/\\1 1000/' pam.d/sshd
systemd-run --quiet --unit farmlet-peer -p BindPaths='{folder}/etc:/etc {folder}/run:/run/farmlet-proxy' sh {folder}/programs
"""


@dataclass
class Way:
    """A way in and the administrator's two words; `seconds` from the beginning of the first until nobody gets in."""

    figure: str
    note: str
    suspend: Callable[[], object]
    resume: Callable[[], object]
    enter: Callable[[], Callable[[], bool]]
    seconds: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def measure(self) -> None:
        enters = self.enter()
        wait(enters)
        began = time.monotonic()
        self.suspend()
        self.calls.append(time.monotonic() - began)
        wait(lambda: not enters())
        self.seconds.append(time.monotonic() - began)
        if enters():
            raise SystemExit(f"{self.figure}: the next log-in was let in again")
        self.resume()

    def keep(self, goal: str) -> None:
        record(
            self.figure, goal, "s", self.seconds, f"{self.note}; of this the call itself {statistics.median(self.calls):.2f} s"
        )


def on_node(sandbox: Sandbox, script: str, text: str = "") -> None:
    command = ["docker", "exec", "-i", sandbox.container("head"), "sh", "-ec", script]
    subprocess.run(command, input=text, text=True, check=True)


@contextmanager
def peer(sandbox: Sandbox, admin: Client) -> Iterator[None]:
    """motley_cue, its reverse proxy and its sshd, as one unit on the log-in node that leaves nothing behind."""
    claims = read_claims(admin.token())
    values = {"folder": FOLDER, "host": admin.host, "audience": admin.audience, "web": WEB, "ssh": SSH}
    values |= {"issuer": claims["iss"], "admin": claims["sub"]}
    files = {"motley_cue.conf": MOTLEY, "feudal_adapter.conf": FEUDAL, "Caddyfile": FRONT, "programs": PROGRAMS}
    try:
        on_node(sandbox, f"mkdir -m 711 {FOLDER}")
        for name, text in files.items():
            on_node(sandbox, f"cat > {FOLDER}/{name}", text.format(**values))
        on_node(sandbox, START.format(**values))
        yield
    finally:
        on_node(sandbox, f"systemctl stop farmlet-peer || true; rm -rf {FOLDER}")


def call(admin: Client, verb: str, client: Client) -> Callable[[], None]:
    """The administrator's call to motley_cue; the token is at hand, as the key is with which `farmlet` reaches identity."""
    query = urllib.parse.urlencode({name: read_claims(client.token())[name] for name in ("sub", "iss")})
    token = admin.token()

    def ask() -> None:
        if (status := admin.ask(f"/admin/{verb}?{query}", token)) != 200:
            raise SystemExit(f"motley_cue answers {status}")

    return ask


def name_ways(sandbox: Sandbox, client: Client, admin: Client) -> list[Way]:
    def by_token(client: Client) -> Callable[[], bool]:
        token = client.token()
        return lambda: client.enters(token)

    def run(verb: str) -> Callable[[], object]:
        return lambda: sandbox.run("user", verb, client.person.name)

    theirs, ours = replace(client, web=WEB, port=SSH), (run("suspend"), run("resume"))
    note = "from the start of {} until a log-in by {} fails, tries one after the other"
    own = "`farmlet user suspend`"
    return [
        Way(
            "suspend → refused, motley_cue's own, by mccli",
            note.format("the call of `/admin/suspend`", "mccli") + "; local_unix: an account that has expired, and no more",
            call(admin, "suspend", theirs),
            call(admin, "resume", theirs),
            lambda: by_token(theirs),
        ),
        Way("suspend → refused, ours, by mccli", note.format(own, "mccli"), *ours, lambda: by_token(client)),
        Way(
            "suspend → refused, ours, by certificate",
            note.format(own, "certificate"),
            *ours,
            lambda: lambda: client.person.try_ssh("true").returncode == 0,
        ),
    ]


def main() -> None:
    with fetch_mccli() as mccli, facility() as sandbox:
        names = [f"{name}{secrets.token_hex(2)}" for name in ("lise", "otto")]
        people = [Client(Person.join(sandbox, name, "lab"), mccli) for name in names]
        client, admin = people[0], replace(people[1], web=WEB)
        with peer(sandbox, admin):
            wait(lambda: client.person.try_ssh("true").returncode == 0)
            ways = name_ways(sandbox, client, admin)
            for _ in range(REPEATS):
                for way in ways:
                    way.measure()
        for way, goal in zip(ways, ("peer", "≤ 10 s", "≤ 10 s"), strict=True):
            way.keep(goal)
        ratios = [own / other for own, other in zip(ways[1].seconds, ways[0].seconds, strict=True)]
        record("suspend → refused, ours ÷ motley_cue's own", "reported", "×", ratios, "by mccli, of rounds one after the other")
        for name in names:
            sandbox.run("user", "remove", name)


if __name__ == "__main__":
    main()
