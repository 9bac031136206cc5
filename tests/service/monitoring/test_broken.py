"""Each shipped alarm by breaking what it watches: exporter, agent, store, rules, Alertmanager and mail are real. It fires, says
what to do, and clears. Windows of time are seconds here, which minutes are in the rules (`test_alarms` has those)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from email import message_from_string
from email.policy import default
from functools import cache
from pathlib import Path

import pytest
from breakage import Bench
from pieces import Pieces, find_values

from farmlet.parts.monitoring import rules
from waiting import serve, until

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
# alarm → what its mail says first
SAID = {
    "BackupOld": r"the last backup of head in .*/backup is 6d 0h \d+m \d+s old",
    "BlackHole": r"jobs at tier1 fail as soon as they begin, 15 in 10 minutes",
    "CertificateAgeing": r".*/node\.crt on head ends in 2d 23h .*",
    "CheckFailing": r"batch\.pool\.port fails on head",
    "ClockOff": r"the clock of head is -?(59|1m)\S* ?\S* off",
    "DiskFull": r"/srv on head is full: 0% left",
    "IdentitySlow": r"the issuer takes \d\.\d+s to answer",
    "MemoryLow": r"head has (1|0\.99\d*)% of its memory left",
    "NodeSilent": r"service sends no numbers",
    "NumbersCut": r"14 numbers of sitetests\.gates on head are left out",
    "QueueStuck": r"jobs on head wait for 2h 0m \d+s and none runs",
    "RenewalsFailing": r"1 credentials on head have no token that holds",
    "SiteClosed": r"tier1 gets no new drones",
    "StorageFailing": r"storage\.element\.strangers fails on head",
    "TestsFrozen": r"storage fails at many sites, most likely by a fault of ours",
    "UnitDown": r"beam\.service has failed on head",
}
SIZES = {"s": 1, "m": 60}


def shorten(expr: str) -> str:
    """Its windows in seconds where it has minutes, and long enough for numbers that come each second."""
    found = re.sub(r"\[(\d+)([sm])", lambda one: f"[{max(8, int(one[1]) * SIZES[one[2]] // 30)}s", expr)
    return found.replace(":15s]", ":1s]")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    made = Pieces(tmp_path_factory.mktemp("broken"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def bench(pieces: Pieces) -> Iterator[Bench]:
    """A node `head` that is watched and well, and a node `service` that says little."""
    bench = Bench(pieces.root)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for server in (bench.units, bench.issuer, bench.element, pieces.exporter):
            stack.enter_context(serve(server))
        patch.setenv("PATH", f"{bench.root}/bin", prepend=":")
        stack.enter_context(bench.work())
        pieces.start_store()
        pieces.start_door()
        pieces.start(*bench.command, name="exporter")
        pieces.start_agent("vmagent", "head", [bench.exporter, bench.units.server_port])
        pieces.start_agent("quiet", "service", [pieces.exporter.server_port])
        until(lambda: len(find_values(pieces, "farmlet_metric_ok == 1")) == len(bench.list_metrics()))
        until(lambda: len(find_values(pieces, "farmlet_check_ok == 1")) == len(bench.list_checks()))
        until(lambda: len(find_values(pieces, 'count by (node) (up{job="node"} == 1)')) == 2)
        changed = {one.name: {"expr": shorten(one.expr), "for_": "1s"} for one in rules.load()}
        pieces.start_alarms({**changed, rules.WATCHDOG: {"expr": changed[rules.WATCHDOG]["expr"]}}, ["head", "service"])
        yield bench
        os.kill(find_exporter(pieces), signal.SIGKILL)  # nobody is told otherwise who is number 1


def find_exporter(pieces: Pieces) -> int:
    """Its number out here."""
    number = pieces.find("exporter")
    return int(Path(f"/proc/{number}/task/{number}/children").read_text())


@cache
def read(mail: str) -> tuple[str, str]:
    """The subject, and the body."""
    found = message_from_string(mail, policy=default)
    body = found.get_body(("plain",))
    return str(found["Subject"]), body.get_content() if body else ""


def find_mail(pieces: Pieces, name: str, status: str) -> str:
    """The line that the first mail has which tells this of the alarm."""
    for _, body in map(read, pieces.sink.mails):
        for alert in body.split("\n\n"):
            first, *more = alert.strip().splitlines() or [""]
            if first.startswith(f"{status} (") and f"what to do: https://monitoring.farmlet.test/#{name}" in "\n".join(more):
                return first.partition("): ")[2]
    return ""


def test_every_alarm_that_is_shipped_is_broken_here() -> None:
    assert {*SAID, rules.WATCHDOG} == {alert.name for alert in rules.load()}


def test_nothing_fires_while_all_is_well(pieces: Pieces, bench: Bench) -> None:
    # by these the rules are looked at, and numbers of both nodes are fresh
    until(lambda: len(pieces.hook.told) > 4)
    assert not pieces.sink.mails and {path for path, _ in pieces.hook.told} == {"/deadman"}


@pytest.fixture(scope="module")
def broken(pieces: Pieces, bench: Bench) -> Mapping[str, Path]:
    disk = Path(f"/proc/{find_exporter(pieces)}/root/srv")
    bench.destroy(disk)
    pieces.stop("quiet")
    return {"disk": disk}


@pytest.mark.parametrize("name", SAID)
def test_it_fires_and_says_what_to_do(name: str, pieces: Pieces, broken: object) -> None:
    said = until(lambda: find_mail(pieces, name, "firing"))
    assert re.fullmatch(SAID[name], said), said


@pytest.fixture(scope="module")
def mended(pieces: Pieces, bench: Bench, broken: Mapping[str, Path]) -> None:
    until(lambda: all(find_mail(pieces, name, "firing") for name in SAID))
    assert not any(find_mail(pieces, name, "resolved") for name in SAID if name != "BlackHole")
    bench.mend(broken["disk"])
    pieces.restart("quiet")


@pytest.mark.parametrize("name", SAID)
def test_it_clears(name: str, pieces: Pieces, mended: None) -> None:
    until(lambda: find_mail(pieces, name, "resolved"))
