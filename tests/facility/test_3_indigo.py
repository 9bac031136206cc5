"""A whole facility whose members and tokens are those of an INDIGO IAM (a stand-in for it), by one line of its file."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from collaboration import CLIENT, SECRET, Collaboration
from person import Person
from sandbox import Sandbox, until

import once
from farmlet.facility.load import default_text
from farmlet.runtime.oauth import DeviceFlow, OAuthError, Tokens, send_json
from host import keep_images
from indigo.client import DEVICE, Client

pytestmark = [pytest.mark.facility, pytest.mark.lane("guest"), pytest.mark.timeout(1200)]
NAME, DOMAIN, PREFIX = "guest", "guest.test", "collaboration"
POLL, MARGIN = 10, 30  # seconds between two looks at the IAM; for the rest of the way, on a busy machine
LIFE = 60  # seconds of tokens for jobs, where one waits for their end
RELOAD = 60
ELEMENT = f"https://service.{DOMAIN}:8443"
PLACE = "/etc/farmlet/issuer-client.secret"
ANCHORS = "/usr/local/share/ca-certificates"
OURS = "access: {client: farmlet}\n"  # whose tokens open a log-in; the IAM gives the audience to any client
JOB = """\
#!/bin/sh
printf 'header = "Authorization: Bearer %s"\\n' "$(cat "$BEARER_TOKEN_FILE")" |
  curl -sS --fail --location --capath "$X509_CERT_DIR" -K - -T /etc/os-release {url}
"""
SUBMIT = """\
executable = write.sh
use_oauth_services = farmlet
requirements = (TARGET.FarmletSite =!= undefined)
request_memory = 400M
request_disk = 100M
transfer_output_files = ""
output = out
error = err
log = log
queue
"""


@dataclass
class Guest(Person):
    """A person whom the IAM knows by another name than this facility."""

    iam: Collaboration
    username: str

    @cached_property
    def ca(self) -> str:
        """What the person's machine trusts: the facility's authority, and the one of the IAM's door."""
        bundle = self.folder / "authorities.pem"
        theirs = self.sandbox.exec("head", f"cat {ANCHORS}/farmlet-site-tier1.crt")
        bundle.write_text(Path(self.sandbox.ca).read_text() + theirs + "\n")
        return str(bundle)

    def authorise(self, scope: str, audience: str = "", client: str = "farmlet") -> Tokens:
        self.iam.person = self.username
        flow = DeviceFlow(self.iam.issuer, client, self.ca)
        return flow.wait(flow.start(scope, audience), self.sleep)


@pytest.fixture(scope="module")
def guest(images: None) -> Iterator[tuple[Sandbox, Collaboration]]:
    """As docs/howto/admin/indigo.md says: the line, `up`, which says what it lacks, the secret, `up`."""
    folder = once.folder() / NAME
    folder.mkdir()
    house = Sandbox(folder, NAME, DOMAIN)
    iam = Collaboration(host=f"tier1.sites.{DOMAIN}", proxy=house.container("tier1"))
    text = default_text().replace("name: lab ", f"name: {NAME} ").replace("domain: farmlet.test", f"domain: {DOMAIN}")
    # what needs a client of its own at the issuer besides, and what nobody here looks at; `head` is as the node that
    # test_3_nodes.py adds, so that one image serves both
    text = (
        text.replace(", storage, notebooks]", "]")
        .replace(", sitetests", "")
        .replace("monitoring]", "monitoring, storage.element, storage]")
    )
    line = f"issuer: {iam.issuer}\n  client: {CLIENT}\n  group_prefix: {PREFIX}"
    (folder / "facility.yaml").write_text(text.replace("issuer: builtin", line) + f"accounts: {{poll_seconds: {POLL}}}\n{OURS}")
    iam.add("Zoë.Müller", f"{PREFIX}/lab", f"{PREFIX}/lab/production")
    iam.add("a.stranger", "others")
    iam.clients.add(Client("somebodys", ("openid",), (DEVICE,)))  # as anybody registers one there
    try:
        with once.alone("up"):
            said = house.run("up", code=1).stderr
        assert f"{PLACE} is missing or empty: put the secret of the client {CLIENT}" in said and said.count("hint: ") == 1, said
        iam.open(folder)
        write = ["docker", "exec", "-i", house.container("service"), "sh", "-c", f"cat > {PLACE}"]
        subprocess.run(write, input=SECRET, text=True, check=True)
        with once.alone("up"):
            house.run("up")
        # the IAM's certificate is the site's own here, which the site's storage need not trust otherwise
        own = house.exec("head", f"cat {ANCHORS}/farmlet-site-tier1.crt")
        house.exec("tier1", f"echo {shlex.quote(own)} > {ANCHORS}/iam.crt && update-ca-certificates >/dev/null")
        yield house, iam
    finally:
        iam.close()
        keep_images(folder, NAME)
        house.run("down", "--purge", code=None)


@pytest.fixture(scope="module")
def zoe(guest: tuple[Sandbox, Collaboration]) -> Guest:
    house, iam = guest
    person = Guest(house, "zoe-muller", house.folder / "zoe", iam, "Zoë.Müller")
    person.folder.mkdir()
    person.take_certificate()
    return person


def exists(house: Sandbox, node: str, path: str) -> bool:
    return subprocess.run(["docker", "exec", house.container(node), "test", "-e", path], capture_output=True).returncode == 0


def put(person: Person, path: str, token: str) -> str:
    """HTTP status of a write to the facility's element."""
    command = ["curl", "-s", "--cacert", person.ca, "-o", "/dev/null", "-w", "%{http_code}", "-T", "/etc/hostname", "-K", "-"]
    given, url = f'header = "Authorization: Bearer {token}"\n', f"{ELEMENT}{path}"
    return subprocess.run([*command, url], input=given, capture_output=True, text=True, timeout=60, check=True).stdout


def show(person: Person, token: str) -> tuple[str, str]:
    """What motley-cue, the way in for mccli, says to a token: HTTP status and body."""
    command = ["curl", "-s", "--cacert", person.ca, "-w", "\n%{http_code}", "-K", "-", f"https://head.{DOMAIN}/user/get_status"]
    given = f'header = "Authorization: Bearer {token}"\n'
    body, _, status = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60).stdout.rpartition("\n")
    return status, body


def test_its_members_are_ours_by_a_name_of_ours(guest: tuple[Sandbox, Collaboration]) -> None:
    house, iam = guest
    assert [row["name"] for row in house.json("user", "list")] == ["zoe-muller"], "only members of the file's groups"
    assert house.json("user", "show", "zoe-muller")["username"] == "Zoë.Müller"
    refused = house.run("user", "add", "ada", "--group", "lab", code=2)
    assert iam.issuer in refused.stderr


def test_log_in_goes_by_its_tokens(zoe: Guest) -> None:
    assert zoe.ssh("id -un; id -Gn; pwd").split("\n") == ["zoe-muller", "zoe-muller lab lab-production", "/home/zoe-muller"]


def test_a_program_that_the_file_does_not_name_gets_no_certificate(zoe: Guest) -> None:
    token = zoe.authorise("openid", "ssh", "somebodys").access_token
    with pytest.raises(OAuthError, match="given to the client somebodys; a log-in is opened by tokens of farmlet alone"):
        key = (zoe.folder / "key.pub").read_text()
        send_json(f"https://service.{DOMAIN}/ssh/sign", {"public_key": key}, token, zoe.sandbox.ca)


def test_no_other_way_in_takes_its_token_either(zoe: Guest) -> None:
    audience = f"ssh_head.{DOMAIN}"
    status, body = show(zoe, zoe.authorise("openid", audience, "somebodys").access_token)
    assert status == "401" and "given to the client somebodys" in body, (status, body)
    status, body = show(zoe, zoe.authorise("openid", audience).access_token)
    assert status == "200" and "deployed" in body, (status, body)


def test_storage_goes_by_its_groups_alone(zoe: Guest) -> None:
    groups = zoe.authorise("openid wlcg.groups").access_token
    scopes = zoe.authorise("openid storage.read:/ storage.modify:/data").access_token
    assert put(zoe, "/data/of-a-group", groups) == "201"
    assert put(zoe, "/data/of-a-scope", scopes) == "403", "scopes do not count where groups do"
    assert put(zoe, "/users/zoe-muller/file", groups) == "403", "a path with {user} is given to nobody"


def store(zoe: Guest) -> None:
    """What jobs need, as the submission does."""
    refresh = zoe.authorise("offline_access wlcg wlcg.groups", client="batch").refresh_token
    secret = json.dumps({"issuer": zoe.iam.issuer, "client_id": "batch", "refresh_token": refresh})
    command = zoe.command("condor_store_cred add-oauth -s farmlet -i -")
    done = subprocess.run(command, input=secret, text=True, capture_output=True)
    assert done.returncode == 0, done


def test_a_job_at_the_site_writes_with_its_token(zoe: Guest) -> None:
    store(zoe)
    script = JOB.format(url=f"{ELEMENT}/data/of-a-job")
    for name, text in (("write.sh", script), ("write.sub", SUBMIT)):
        done = subprocess.run(zoe.command(f"cat > {name}"), input=text, text=True, capture_output=True)
        assert done.returncode == 0, done
    zoe.ssh("condor_submit write.sub && condor_wait -wait 300 log >/dev/null")
    assert zoe.ssh("cat err; condor_history -limit 1 -af ExitCode") == "0"
    assert "Debian" in zoe.sandbox.exec("service", "cat /srv/farmlet/storage/data/of-a-job")


def test_a_policy_to_sign_holds_jobs_until_it_is_signed(zoe: Guest) -> None:
    zoe.iam.clients.known["batch"].access_seconds = LIFE
    use = "/var/lib/condor/oauth_credentials/zoe-muller/farmlet.use"
    zoe.sandbox.exec("head", f"rm -f {use}")
    store(zoe)
    zoe.ssh("sed '/^requirements/s/=.*/= False/' write.sub > waiting.sub && condor_submit waiting.sub >/dev/null")
    until(lambda: exists(zoe.sandbox, "head", use), MARGIN)
    zoe.iam.publish()
    reason = "condor_q -constraint 'JobStatus == 5' -af HoldReason"
    until(lambda: f"Sign it: {zoe.iam.issuer}iam/aup/sign" in zoe.ssh(reason), LIFE + 2 * MARGIN)
    zoe.iam.sign(zoe.username)
    until(lambda: zoe.ssh("condor_q -af JobStatus") == "1", 2 * LIFE + MARGIN)
    zoe.ssh("condor_rm -all >/dev/null")
    zoe.iam.clients.known["batch"].access_seconds = 3600


def test_a_member_plays_the_demo(guest: tuple[Sandbox, Collaboration], zoe: Guest) -> None:
    """Two consents in their own browser; the rest is as with our own issuer."""
    house, iam = guest
    iam.person = zoe.username
    report = house.json("demo")
    assert report["ok"], report
    assert report["result"]["member"] == "zoe-muller" and 90.0 < report["result"]["mass"] < 91.5


def test_the_clients_are_as_they_should_be(guest: tuple[Sandbox, Collaboration]) -> None:
    house, iam = guest
    evidence = {row["check"]: row["evidence"] for row in house.json("check", "accounts.daemon")}
    assert iam.issuer in evidence["accounts.daemon.answers"] and "as they should be" in evidence["accounts.daemon.clients"]


def test_a_change_there_is_followed_within_a_poll(guest: tuple[Sandbox, Collaboration], zoe: Guest) -> None:
    house, iam = guest
    iam.add("alan", f"{PREFIX}/lab")
    user, token = iam.find("Zoë.Müller"), zoe.authorise("openid wlcg.groups").access_token
    iam.leave("Zoë.Müller", f"{PREFIX}/lab/production")
    until(lambda: house.exec("head", "id alan >/dev/null 2>&1 && id -Gn zoe-muller || true") == "zoe-muller lab", POLL + MARGIN)
    session = zoe.start("sleep 300")
    user["active"] = False
    command = ["ssh", "-o", "LogLevel=INFO", *zoe.command("true")[1:]]  # the very next one
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert refused.returncode == 255 and f"{iam.issuer} says that you are suspended." in refused.stderr, refused
    session.wait(3 * MARGIN)
    # what was stored for jobs is gone, and word of it is left; the element here knows whose groups count no more
    credentials = "ls /var/lib/condor/oauth_credentials/zoe-muller"
    until(lambda: house.exec("head", credentials) == "farmlet.refused", MARGIN)
    until(lambda: user["id"] in house.exec("service", "cat /var/lib/farmlet/storage-ended.json"), MARGIN)
    assert house.json("user", "show", "zoe-muller")["state"] == "suspended"
    # XRootD reads the list anew each minute, and goes by the groups of a token as it was given
    until(lambda: put(zoe, "/data/of-a-leaver", token) == "403", RELOAD + MARGIN)


def test_up_goes_on_without_it(guest: tuple[Sandbox, Collaboration]) -> None:
    house, iam = guest
    iam.close()
    said = house.run("up").stderr
    told = [line for line in said.splitlines() if line.startswith("  ! ")]
    assert len(told) == 1 and "accounts.daemon.answers" in told[0] and iam.issuer in told[0], said
