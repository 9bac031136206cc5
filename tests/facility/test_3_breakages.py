"""A site broken in five ways: each is noticed by the test that is about it, shown, keeps drones away and raises an alarm within a
minute at an interval of half a minute, by mail too; mended, the gate opens and the alarm clears. In CI four break at once; one by
one they are a soak. Who else outside is told, writes and reads, as the file names them, is seen here too."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email import message_from_string
from email.policy import default
from pathlib import Path
from threading import Thread
from typing import Any

import outside
import pytest
from alarms import ask, fetch
from sandbox import Sandbox, until

from farmlet.parts.monitoring.store import find_token

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("overlay", "sitetests"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(1200),
]

OWN = "/etc/farmlet/sitetests"
OFTEN = ("storage", "room", "image", "clock", "network")
ALARM = 'last_over_time(ALERTS{alertname="SiteClosed",site="tier1",alertstate="firing"}[15s])'
MINUTE = 60  # seconds; what it took is printed, and looked at in the note of who changes this


@dataclass(frozen=True)
class Breakage:
    """`test`: the one that is to notice; `said`: in its text; `harm` and `mend`: shell of the site's machine."""

    test: str
    said: str
    harm: str
    mend: str


EXECUTE = "$(condor_config_val EXECUTE)"
# every Python that begins at the site reads this: its clock is an hour ahead
CLOCK = "/usr/lib/python3/dist-packages/zz-wrong-clock.pth"
AHEAD = "import time; time.time = lambda now=time.time: now() + 3600"
BREAKAGES = {
    "no way to storage": Breakage(
        "storage",
        "https://head.",
        'ip route replace unreachable "$(getent hosts head.DOMAIN | cut -d" " -f1)"',
        'ip route del unreachable "$(getent hosts head.DOMAIN | cut -d" " -f1)"',
    ),
    "full disk": Breakage(
        "room",
        "MiB of disk are free",
        f"mount -t tmpfs -o uid=condor,gid=condor,mode=755,size=600M full {EXECUTE}",
        f"umount -l {EXECUTE}",
    ),
    "broken image": Breakage(
        "image",
        "/cvmfs/unpacked/analysis",
        "mount -t tmpfs empty /cvmfs/unpacked/analysis",
        "umount -l /cvmfs/unpacked/analysis",
    ),
    "wrong clock around the job": Breakage("clock", "the clock differs", f"echo '{AHEAD}' > {CLOCK}", f"rm -f {CLOCK}"),
    "startd dead": Breakage(
        "queue", "no machine is in the site's pool", "condor_off -fast -daemon startd", "condor_on -daemon startd"
    ),
}
AT_ONCE = ("no way to storage", "full disk", "broken image", "wrong clock around the job")


@pytest.fixture(scope="module", autouse=True)
def often(sandbox: Sandbox, running: Sandbox) -> Iterator[None]:
    """The shipped tests run each half minute, as files of the collaboration's."""
    shipped = "$(/opt/farmlet/service/bin/python -c 'import farmlet.parts.sitetests.shipped as s; print(s.__path__[0])')"
    insert = "sed '0,/^# timeout/s//# every = 30\\n&/'"
    script = f"cd {shipped} && for name in {' '.join(OFTEN)}; do {insert} $name.py > {OWN}/$name.py; done"
    sandbox.exec("service", script)
    sandbox.run("sitetest", "run", code=None)
    yield
    sandbox.exec("service", f"cd {OWN} && rm -f {' '.join(f'{name}.py' for name in OFTEN)}")


@contextmanager
def broken(sandbox: Sandbox, name: str) -> Iterator[Breakage]:
    one = BREAKAGES[name]
    sandbox.exec("tier1", one.harm.replace("DOMAIN", sandbox.domain))
    try:
        yield one
    finally:
        sandbox.exec("tier1", one.mend.replace("DOMAIN", sandbox.domain))


@pytest.fixture(scope="module")
def told(sandbox: Sandbox, running: Sandbox) -> Iterator[list[tuple[str, str]]]:
    """What who is outside was told until now: what, and its text."""
    if "deadman:" not in (sandbox.folder / "facility.yaml").read_text():
        pytest.skip("the file of this sandbox names nobody who is told")
    words = ["docker", "exec", "-i", sandbox.container("head"), "python3", "-u", "-c", Path(outside.__file__).read_text()]
    heard: list[tuple[str, str]] = []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout and json.loads(process.stdout.readline()) == ["ready", ""]
        Thread(target=lambda: heard.extend(map(json.loads, process.stdout or ())), daemon=True).start()
        yield heard
        process.stdin.close()


def find_mails(told: list[tuple[str, str]], status: str) -> list[str]:
    """What was mailed of the site that was closed."""
    mails = [message_from_string(text, policy=default) for what, text in told if what == "mail"]
    return [text for mail in mails if f"{status}: tier1 gets no new drones" in mail["Subject"] for text in [mail.as_string()]]


def find_site(sandbox: Sandbox) -> dict[str, Any]:
    (site,) = sandbox.json("sitetest", "list")["sites"]
    return dict(site)


def tell(sandbox: Sandbox) -> dict[str, str]:
    """What keeps drones away, by test."""
    site = find_site(sandbox)
    rows = {row["test"]: row["text"] for row in site["tests"] if row["code"] == 2}
    return {} if site["open"] else {test: text for test, text in rows.items() if f"{test}: " in site["reason"]}


ONE_BY_ONE = [pytest.param([name], marks=pytest.mark.soak, id=name) for name in BREAKAGES]


@pytest.mark.parametrize("names", [pytest.param([*AT_ONCE], id="four at once"), *ONE_BY_ONE])
def test_what_breaks_is_noticed_shown_and_gated_and_cleared_when_it_is_mended(
    sandbox: Sandbox, told: list[tuple[str, str]], names: list[str]
) -> None:
    until(lambda: find_site(sandbox)["open"], 120)
    before = len(told)
    with ExitStack() as stack:
        found = [stack.enter_context(broken(sandbox, name)) for name in names]
        start = time.monotonic()
        wanted = {one.test for one in found}
        until(lambda: wanted <= tell(sandbox).keys(), 2 * MINUTE)
        print(f"{', '.join(names)}: gated after {time.monotonic() - start:.0f} s")
        shown = tell(sandbox)
        until(lambda: ask(sandbox, ALARM), 2 * MINUTE)
        print(f"{', '.join(names)}: alarmed after {time.monotonic() - start:.0f} s")
        until(lambda: find_mails(told[before:], "firing"), 2 * MINUTE)
        print(f"{', '.join(names)}: mailed after {time.monotonic() - start:.0f} s")
        for one in found:
            assert one.said in shown[one.test], shown
        (row,) = [row for row in sandbox.json("check", "sitetests.site.tier1", code=1) if row["check"] == "sitetests.site.tier1"]
        assert not row["ok"] and all(f"{one.test}: " in row["evidence"] for one in found)
    start = time.monotonic()
    until(lambda: find_site(sandbox)["open"], 2 * MINUTE)
    print(f"{', '.join(names)}: open {time.monotonic() - start:.0f} s after it was mended")
    until(lambda: not ask(sandbox, ALARM), MINUTE)
    last = sandbox.json("sitetest", "history", "tier1")
    assert [row["ok"] for row in last[:2]] == [True, False]
    # mails of an alarm are a minute apart, for all that changes
    until(lambda: find_mails(told[before:], "resolved"), 2 * MINUTE)
    (mail, *_) = find_mails(told[before:], "firing")
    assert f"what to do: https://monitoring.{sandbox.domain}/#SiteClosed" in mail
    hooked = [json.loads(text) for what, text in told[before:] if what == "/alarms"]
    assert {"firing", "resolved"} <= {body["status"] for body in hooked if body["commonLabels"]["alertname"] == "SiteClosed"}


def test_who_is_outside_is_told_writes_and_reads(sandbox: Sandbox, told: list[tuple[str, str]]) -> None:
    """As the file names them, and systemd has what stands between; at the other store, all numbers of all nodes."""
    until(lambda: [json.loads(text)["status"] for what, text in told if what == "/deadman"], 2 * MINUTE)
    writer, reader = (
        sandbox.exec("service", f"cat {find_token(kind, name)}") for kind, name in (("writers", "beam"), ("readers", "shed"))
    )
    url = f"https://monitoring.{sandbox.domain}"
    line, asked = b"beam,ring=a current=1.5", f"{url}/prometheus/api/v1/query?query=beam_current"
    assert fetch(sandbox, f"{url}/influx/write", line, Authorization=f"Token {reader}")[0] == 401
    assert fetch(sandbox, f"{url}/influx/write", line, Authorization=f"Token {writer}")[0] == 204
    assert fetch(sandbox, asked, Authorization=f"Bearer {writer}")[0] == 401 == fetch(sandbox, asked)[0]

    def read() -> list[Any]:
        status, text = fetch(sandbox, asked, Authorization=f"Bearer {reader}")
        assert status == 200, text
        return list(json.loads(text)["data"]["result"])

    until(read, 30)
    (row,) = read()
    assert (row["metric"]["writer"], row["metric"]["ring"], row["value"][1]) == ("beam", "a", "1.5")
    query = f"http://127.0.0.1:{outside.STORE}/api/v1/query --data-urlencode 'query=count by (node) (farmlet_checks_failing)'"
    until(lambda: {one["metric"]["node"] for one in ask_there(sandbox, query)} == {"head", "service"}, 2 * MINUTE)


AWAY = 600  # seconds


@pytest.mark.soak
def test_nothing_is_lost_while_the_store_is_away(sandbox: Sandbox) -> None:
    """Ten minutes of numbers wait on the nodes."""
    every = {"head": 60, "service": 5}  # seconds between them, as the file has it
    running = sandbox.exec("service", "systemctl list-units --plain --no-legend --state=active 'farmlet-*' | cut -d' ' -f1")
    began = time.time()
    # with the door, for whoever knocks there starts the store
    sandbox.exec("service", "systemctl stop farmlet-store-door.socket farmlet-store-door.service farmlet-store.service")
    try:
        time.sleep(AWAY)
        assert sandbox.exec("service", "systemctl is-active farmlet-store.service || true") == "inactive"
    finally:  # what needs it has stopped too
        sandbox.exec("service", f"systemctl start {' '.join(running.split())}")
    seconds = int(time.time() - began)

    def count() -> dict[str, int]:
        """Numbers of each node within that time."""
        found = ask(sandbox, f'count_over_time(up{{job="node"}}[{seconds}s] offset {int(time.time() - began) - seconds}s)')
        return {row["metric"]["node"]: int(row["value"][1]) for row in found}

    until(lambda: all(count().get(node, 0) >= seconds // step - 1 for node, step in every.items()), 2 * MINUTE)
    print(f"of {seconds} s: {count()}")


def ask_there(sandbox: Sandbox, query: str) -> list[dict[str, Any]]:
    return list(json.loads(sandbox.exec("head", f"curl -sSf {query}"))["data"]["result"])
