"""The unpacked area into a CVMFS repository: real rsync and files; `cvmfs_server` is a program that does as 2.12.0 did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.software.unpacked import publish
from farmlet.parts.software.unpacked.publish import LAST, Publisher, check_publisher
from farmlet.runtime.checks import Failed

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]
NAME = "unpacked.lab.test"
# $LAB/cvmfs/NAME is the mount, $LAB/published what clients see; the files `refuse` and `expired` make it unkind
SERVER = r"""#!/bin/bash
echo "$*" >> "$LAB/calls"
[ "$1" = abort ] && shift; name=${!#} mount=$LAB/cvmfs/${!#}
say() { echo "$1" >&2; exit "$2"; }
case $(tail -n 1 "$LAB/calls") in
  list) echo "lsusb: not found" >&2
    echo "other.example.org (stratum0 / local)"
    [ ! -e "$LAB/open" ] || state=' - in transaction - unhealthy'
    [ -e "$LAB/none" ] || echo "unpacked.lab.test (stratum0 / local$state)" ;;
  info*) [ -e "$LAB/expired" ] || echo "Whitelist is valid for another $(cat "$LAB/days") days" ;;
  transaction*) [ ! -e "$LAB/expired" ] || say 'terminate called' 5
    [ ! -e "$LAB/open" ] || say "Repository $name is already in a transaction" 1
    touch "$LAB/open" ;;
  publish*) [ -e "$LAB/open" ] || say "Repository $name is not in a transaction" 1
    [ ! -e "$LAB/refuse" ] || say "Repository whitelist for $name is expired!" 1
    rsync -a --delete "$mount/" "$LAB/published/"; rm "$LAB/open" ;;
  abort*) [ -e "$LAB/open" ] || say 'no transaction' 1
    rsync -a --delete "$LAB/published/" "$mount/"; rm "$LAB/open" ;;
  *) exit 9 ;;
esac
"""
HANGS = '#!/bin/sh\ncase "$*" in *--dry-run*) exec /usr/bin/rsync "$@";; *) exec sleep 50;; esac\n'


class Lab:
    def __init__(self, place: Path) -> None:
        self.place, self.area, self.seen = place, place / "unpacked" / NAME, place / "published"
        for folder in (place / "bin", self.area, self.seen, place / "cvmfs" / NAME):
            folder.mkdir(parents=True)
        (place / "bin/cvmfs_server").write_text(SERVER)
        (place / "bin/cvmfs_server").chmod(0o755)
        (place / "days").write_text("29")
        (place / "calls").touch()

    def unpack(self, tag: str, content: str) -> None:
        """An image in the area, as `area.py` leaves it."""
        flat = self.area / ".flat/ab" / content
        flat.mkdir(parents=True, exist_ok=True)
        (flat / "marker").write_text(content)
        (flat / ".cvmfscatalog").touch()
        link = self.area / f"registry/lab/mini:{tag}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../.flat/ab/{content}")
        (self.area / "images.json").write_text(f"{tag} {content}")
        (self.area / ".state.json").write_text(str(time.time()))

    def run(self) -> bool:
        return Publisher(self.area, NAME, self.place / "cvmfs").run()

    def read(self, tag: str) -> str:
        return (self.seen / f"registry/lab/mini:{tag}/marker").read_text()

    def calls(self) -> list[str]:
        found = [line.split()[0] for line in (self.place / "calls").read_text().splitlines()]
        (self.place / "calls").write_text("")
        return [name for name in found if name not in ("list", "info")]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("LAB", str(tmp_path))
    return Lab(tmp_path)


def test_what_differs_is_published_in_one_transaction(lab: Lab) -> None:
    assert not lab.run() and lab.calls() == [], "there is nothing yet"
    lab.unpack("v1", "one")
    lab.unpack("v2", "two")
    assert lab.run() and lab.calls() == ["transaction", "publish"]
    assert (lab.read("v1"), lab.read("v2")) == ("one", "two")
    assert sorted(path.name for path in lab.seen.iterdir()) == [".flat", "images.json", "registry"]
    assert not lab.run() and lab.calls() == [], "nothing differs"
    lab.unpack("v1", "three")
    subprocess.run(["rm", "-r", str(lab.area / ".flat/ab/one"), str(lab.area / "registry/lab/mini:v2")], check=True)
    assert lab.run() and lab.read("v1") == "three"
    assert not (lab.seen / ".flat/ab/one").exists() and not (lab.seen / "registry/lab/mini:v2").is_symlink()


@pytest.mark.parametrize(
    ("fault", "said", "calls"),
    [("refuse", "is expired!", ["transaction", "publish", "abort"]), ("expired", "terminate called", ["transaction"])],
)
def test_a_failed_publish_leaves_the_old(lab: Lab, fault: str, said: str, calls: list[str]) -> None:
    lab.unpack("v1", "one")
    lab.run()
    lab.calls()
    lab.unpack("v1", "two")
    (lab.place / fault).touch()
    with pytest.raises(FarmletError, match=said):
        lab.run()
    assert lab.calls() == calls and lab.read("v1") == "one" and not (lab.place / "open").exists()
    (lab.place / fault).unlink()
    assert lab.run() and lab.read("v1") == "two"


def test_a_transaction_that_was_killed_is_ended_and_somebody_elses_is_not(lab: Lab) -> None:
    lab.unpack("v1", "one")
    (lab.place / "open").touch()
    with pytest.raises(FarmletError, match="is in a transaction"):
        lab.run()
    assert lab.calls() == [] and (lab.place / "open").exists()
    (lab.place / "open").unlink()
    (lab.place / "bin/rsync").write_text(HANGS)
    (lab.place / "bin/rsync").chmod(0o755)
    code = f"from pathlib import Path; from {publish.__name__} import *; "
    code += f"Publisher(Path({str(lab.area)!r}), {NAME!r}, Path({str(lab.place / 'cvmfs')!r})).run()"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while not (lab.place / "open").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (lab.place / "bin/rsync").unlink()
    lab.calls()
    assert lab.run() and lab.calls() == ["abort", "transaction", "publish"] and lab.read("v1") == "one"


def test_what_is_no_publisher_says_so(lab: Lab) -> None:
    lab.unpack("v1", "one")
    (lab.place / "none").touch()
    with pytest.raises(FarmletError, match="is no repository of this host"):
        lab.run()
    (lab.place / "bin/cvmfs_server").unlink()
    with pytest.raises(FarmletError, match="No such file"):
        lab.run()


@pytest.mark.parametrize(
    ("days", "last", "state", "said"),
    [
        ("29", "", "", ""),
        ("6", "", "", "another 6 days: cvmfs_server resign"),
        ("29", "no room", "", "no room; what was published before is there still"),
        ("29", "", "open", "is in a transaction"),
        ("29", "", "expired", "its whitelist is not valid"),
        ("29", None, "", "No such file"),
    ],
)
def test_the_check_sees_what_publishing_needs(lab: Lab, days: str, last: str | None, state: str, said: str) -> None:
    (lab.place / "days").write_text(days)
    if last is not None:
        (lab.area / LAST).write_text(last)
    if state:
        (lab.place / state).touch()
    if not said:
        assert check_publisher(str(lab.area), NAME) == f"{NAME}: its whitelist is valid for another 29 days"
        return
    with pytest.raises(Failed, match=said):
        check_publisher(str(lab.area), NAME)
