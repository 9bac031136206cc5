"""What becomes of a log-in: renewal, two at once, a kill at any moment, refusals, the end."""

from __future__ import annotations

import json
import random
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest
from browser import Browser
from door import Authority
from issuer import Service, claims
from machine import Machine

from farmlet.errors import FarmletError
from farmlet.runtime.oauth import send_json

pytestmark = pytest.mark.service
# `farmlet login --fresh`, killed in place of its Nth renaming of a file into its place
KILLED = """
import os, pathlib, sys
from farmlet.cli.main import main
whole, left = pathlib.Path.rename, [int(sys.argv[1])]
def rename(path, target):
    left[0] -= 1
    return whole(path, target) if left[0] else os.kill(os.getpid(), 9)
pathlib.Path.rename = rename
main(["login", "--fresh", "lab"])
"""


@pytest.fixture
def inside(machine: Machine, ada: Browser) -> Machine:
    done = machine.log_in(ada)
    assert done.returncode == 0, done.stderr
    return machine


def begin(machine: Machine, *words: str) -> subprocess.Popen[str]:
    command = machine.command(*words)
    return subprocess.Popen(command, env=machine.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sound(machine: Machine) -> None:
    """Every file is whole."""
    assert machine.load()["refresh_token"]
    assert subprocess.run(["ssh-keygen", "-y", "-f", str(machine.folder / "id_ed25519")], capture_output=True).returncode == 0
    for path in (machine.bearer, machine.folder / "token"):
        assert claims(path.read_text().strip())["preferred_username"] == "ada"
    assert machine.run("login", "--status").returncode == 0


def test_what_is_there_after_a_log_in(inside: Machine, service: Service) -> None:
    found = claims(inside.bearer.read_text())
    assert found["aud"] == "https://wlcg.cern.ch/jwt/v1/any" and "storage.read:/" in found["scope"].split()
    assert "openid" not in found["scope"] and "ssh" not in found["aud"]
    for path in [inside.bearer, *inside.folder.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o644 if path.suffix == ".pub" else 0o600), path
    assert stat.S_IMODE(inside.folder.stat().st_mode) == 0o700
    assert "~/.config/farmlet/*/ssh_config" in inside.run("login", "--status").stdout or not inside.config.exists()
    row = json.loads(inside.do("login", "--status", "--json").stdout)[0]
    assert (row["facility"], row["user"], row["renews"], row["bearer"]) == ("lab", "ada", True, True)
    assert row["certificate"]["ok"] and row["token"]["ok"] and not row["ssh_config"]


def test_the_page_says_that_it_will_log_in(machine: Machine, ada: Browser) -> None:
    process, started = machine.begin()
    try:
        page = ada.open(started["verification_uri_complete"])
        assert "log in by SSH as you" in page.text and "every storage of Example facility" in page.text
    finally:
        process.kill()
        process.communicate()


def test_a_log_in_that_another_program_was_allowed_is_no_certificate(
    inside: Machine, authority: Authority, service: Service, ada: Browser
) -> None:
    """The authority asks for its own client besides, whatever the issuer gives to others."""
    service.do("client", "ensure", "console", "--public", "--grant=device", "--audience=ssh")
    key = {"public_key": (inside.folder / "id_ed25519.pub").read_text()}

    def sign(client: str) -> dict[str, object]:
        token = service.connect(ada, client, scope="openid", audience="ssh")["access_token"]
        return send_json(f"{authority.url}/ssh/sign", key, token, service.cafile)

    with pytest.raises(FarmletError, match="it was given to the client console"):
        sign("console")
    assert sign("farmlet")["principal"] == "ada"


def test_nothing_is_done_while_all_is_good(inside: Machine) -> None:
    before = {path: path.read_bytes() for path in inside.folder.iterdir()}
    used = []
    for _ in range(5):
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = inside.do("login", "--fresh", "lab")
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
        assert done.stdout == done.stderr == ""
    assert {path: path.read_bytes() for path in inside.folder.iterdir()} == before
    assert min(used) <= 0.3, used  # of processor time: how long it waits for one is not its doing


def test_nothing_of_the_network_is_imported_while_all_is_good(inside: Machine) -> None:
    code = "import sys; from farmlet.cli.main import main; main(['login', '--fresh', 'lab']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=inside.environment, capture_output=True, text=True, check=True)
    assert not {"ssl", "urllib.request", "http.client", "subprocess"} & set(done.stdout.split())


def test_of_two_at_once_one_renews(inside: Machine, authority: Authority) -> None:
    before = (authority.folder / "log").read_text().count("signed for ada")
    for _ in range(3):
        inside.age("certificate", "token")
        both = [begin(inside, "login", "--fresh", "lab") for _ in range(2)]
        assert [process.communicate(timeout=60)[1] for process in both] == ["", ""]
    assert (authority.folder / "log").read_text().count("signed for ada") == before + 3
    sound(inside)


def test_killed_at_any_moment_all_is_whole(inside: Machine) -> None:
    random.seed(4)
    for _ in range(12):
        inside.age("certificate", "token")
        process = begin(inside, "login", "--fresh", "lab")
        time.sleep(random.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert inside.do("login", "--fresh", "lab").stderr == ""
    sound(inside)
    assert json.loads(inside.do("login", "--status", "--json").stdout)[0]["certificate"]["ok"]


def test_killed_before_each_write_all_is_whole(inside: Machine) -> None:
    killed = 0
    for number in range(1, 20):
        inside.age("certificate", "token")
        for path in (inside.folder / "id_ed25519", inside.folder / "known_hosts"):
            path.unlink(missing_ok=True)
        command = [sys.executable, "-c", KILLED, str(number)]
        done = subprocess.run(command, env=inside.environment, capture_output=True, text=True, timeout=60)
        assert done.stderr == "", number
        killed += done.returncode == -9
        assert inside.do("login", "--fresh", "lab").stderr == "", number
        sound(inside)
        if done.returncode == 0:
            break
    assert killed >= 8 and done.returncode == 0


def test_a_log_in_that_was_ended_elsewhere_is_told_in_one_line(inside: Machine, service: Service) -> None:
    answer = service.request("/revoke", {"token": inside.load()["refresh_token"], "client_id": "farmlet"})
    assert answer.status == 200
    inside.age("certificate")
    for _ in range(2):
        done = inside.run("login", "--fresh", "lab")
        assert done.returncode == 0
        assert done.stderr == "farmlet: lab: the log-in has ended; log in anew: farmlet login lab\n"
    assert inside.run("login", "--keep", "lab").returncode == 1
    assert inside.run("login", "--status").returncode == 1


def test_a_facility_that_is_away_is_told_once_and_not_asked_again_at_once(inside: Machine) -> None:
    inside.change(url="https://localhost:1")
    now = time.time()
    inside.change(certificate={"start": now - 40000, "end": now + 3200})
    first, second = inside.run("login", "--fresh", "lab"), inside.run("login", "--fresh", "lab")
    assert first.returncode == 0 and "cannot be reached" in first.stderr and first.stderr.count("\n") == 1
    assert (second.returncode, second.stderr) == (0, "")
    assert "what you have serves on: your certificate until" in first.stderr
    again = inside.run("login", "lab")
    assert again.returncode == 1 and "what you have serves on: your certificate until" in again.stderr


def test_keep_renews_in_time(inside: Machine) -> None:
    now = time.time()
    inside.change(token={"start": now - 10, "end": now + 8})  # 2/3 of it: in 2 s
    before = inside.bearer.read_text()
    process = begin(inside, "login", "--keep")
    deadline = time.monotonic() + 30
    while inside.bearer.read_text() == before:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    sound(inside)


def test_refused_by_the_person(machine: Machine, ada: Browser) -> None:
    done = machine.log_in(ada, button="deny")
    assert done.returncode == 1 and "refused in the browser" in done.stderr and "hint:" in done.stderr
    assert not machine.bearer.exists() and not list(machine.folder.glob("state.json"))


def test_faults_are_told_with_what_to_do(machine: Machine, authority: Authority) -> None:
    ca = authority.service.cafile
    for words, said in {
        (authority.url,): "--ca FILE",
        (authority.url, "--ca", "/nonexistent"): "cannot be used as --ca",
        ("https://localhost:1", "--ca", ca): "is there a network",
        ("https://nowhere.invalid",): "is there a network",
        ("somewhere/else?x",): "not the address of a facility",
        (authority.service.issuer, "--ca", ca): "404",
        ("--fresh", "lab"): "not logged in to lab",
    }.items():
        done = machine.run("login", *words)
        assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert not list(machine.home.rglob("state.json"))


def test_a_folder_that_cannot_be_written(machine: Machine, authority: Authority) -> None:
    (machine.home / ".config").write_text("no folder")
    done = machine.run("login", authority.url, "--ca", authority.service.cafile)
    assert done.returncode == 1 and "cannot be made" in done.stderr and "XDG_CONFIG_HOME" in done.stderr


def test_without_ssh_keygen(machine: Machine, ada: Browser) -> None:
    machine.environment["PATH"] = str(machine.home)
    done = machine.log_in(ada)
    assert done.returncode == 1 and "ssh-keygen: is not installed" in done.stderr


def test_a_token_of_another_program_stays(inside: Machine) -> None:
    inside.bearer.write_text("another\n")
    inside.age("token")
    inside.do("login", "--fresh", "lab")
    assert inside.bearer.read_text() == "another\n"
    inside.do("logout")
    assert inside.bearer.read_text() == "another\n"


def test_a_link_where_the_token_goes_is_not_followed(machine: Machine, ada: Browser) -> None:
    victim = machine.home / "victim"
    victim.write_text("mine")
    machine.bearer.symlink_to(victim)
    assert machine.log_in(ada).returncode == 0
    assert victim.read_text() == "mine" and not machine.bearer.is_symlink()


def test_two_facilities_side_by_side(
    inside: Machine, ada: Browser, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Authority(authority.service, tmp_path_factory.mktemp("other"), name="other") as other:
        inside.authority = other
        taken = inside.run("login", other.url, "--ca", authority.service.cafile, "--name", "lab")
        assert taken.returncode == 2 and "names another facility here" in taken.stderr
        assert inside.log_in(ada).returncode == 0
        rows = json.loads(inside.do("login", "--status", "--json").stdout)
        assert [row["facility"] for row in rows] == ["lab", "other"]
        short = [(inside.folder.parent / name / "ssh_config").read_text().count("Host head\n") for name in ("lab", "other")]
        assert short == [1, 0], "a short name is the first one's"
        assert inside.run("logout").returncode == 2, "which one?"
        inside.do("logout", "other")
        assert not (inside.folder.parent / "other").exists() and inside.folder.exists()


def test_logout_removes_what_login_made_and_nothing_else(machine: Machine, ada: Browser, service: Service) -> None:
    machine.config.write_bytes(b"# mine\r\nHost a\n  User b")
    machine.config.chmod(0o640)
    (machine.home / ".config").mkdir()
    assert machine.log_in(ada, "--ssh-config").returncode == 0
    line = b"Include ~/.config/farmlet/*/ssh_config\n"
    assert machine.config.read_bytes() == line + b"# mine\r\nHost a\n  User b"
    assert machine.log_in(ada, "--ssh-config").returncode == 0
    assert machine.config.read_bytes().count(line) == 1 and stat.S_IMODE(machine.config.stat().st_mode) == 0o640
    token = machine.load()["refresh_token"]
    (machine.folder / "note").write_text("a person's own")
    machine.do("logout")
    assert service.refresh(token).body["error"] == "invalid_grant"
    assert machine.config.read_bytes() == b"# mine\r\nHost a\n  User b"
    assert [path.name for path in machine.folder.iterdir()] == ["note"] and not machine.bearer.exists()
    assert machine.run("logout").returncode == 2


def test_logout_leaves_no_trace_where_nothing_was(machine: Machine, ada: Browser) -> None:
    before = sorted(machine.home.rglob("*"))
    assert machine.log_in(ada, "--ssh-config").returncode == 0
    machine.do("logout")
    left = [path for path in sorted(machine.home.rglob("*")) if path not in before and path.is_file()]
    assert left == []


def test_logging_in_again_ends_the_log_in_before(inside: Machine, ada: Browser, service: Service) -> None:
    token = inside.load()["refresh_token"]
    assert inside.log_in(ada).returncode == 0
    assert service.refresh(token).body["error"] == "invalid_grant"
    sound(inside)
