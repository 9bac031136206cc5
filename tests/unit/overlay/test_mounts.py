"""Drones that mount CVMFS by themselves: real namespaces and mounts, and in the client's stead a program that does what a real
2.12.0 was seen to do without root: settings of one file, one process for each cache, mistakes told in its log only."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_drone import ARGUMENTS, DRONE, STAND_INS, STARTER, read_ad

from farmlet.parts.overlay import deploy
from farmlet.parts.render import render

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]
KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
CLIENT = r"""#!/bin/bash
# cvmfs2 -o config=FILE REPOSITORY FOLDER
[ "$1" = -o ] && [ "$#" = 4 ] || exit 1
. "${2#config=}"
say() { echo "$1" >> "$CVMFS_USYSLOG"; echo 'Failed to initialize root file catalog (16 - file catalog failure)' >&2; exit 32; }
[ -n "$CVMFS_HTTP_PROXY" ] || { echo 'CVMFS_HTTP_PROXY required' >&2; exit 1; }
[ -d "$CVMFS_RELOAD_SOCKETS" ] && [ "$CVMFS_SHARED_CACHE" = no ] || exit 9
keys=${CVMFS_PUBLIC_KEY:-$CVMFS_KEYS_DIR/*.pub}
grep -q AAAA $keys 2> /dev/null || say 'whitelist verification failed (6): invalid whitelist signature'
case $CVMFS_SERVER_URL in *dead*) say 'failed to download (7 - host connection problem)';; *silent*) sleep 100;; esac
exec 9> "$CVMFS_CACHE_BASE/lock_cachedb"
flock -n 9 || { echo 'another process holds ./lock_cachedb, waiting.' >> "$CVMFS_USYSLOG"; flock 9; }
mount -t tmpfs -o mode=755 cvmfs2 "$4" || exit 4
printf '%s\n' "$3" "$CVMFS_HTTP_PROXY" "$CVMFS_SERVER_URL" > "$4/README"
setsid sleep 3737 > /dev/null 2>&1 < /dev/null &
"""
# what the drone would be; it looks as its jobs would
LOOK = """\
id -u; cat /cvmfs/*/README; ls /cvmfs; touch /cvmfs/lab.example.org/x; grep CapEff /proc/self/status; ls -d "$HOME/tokens.d"
"""
MASTER = 'for n in 1 2; do "$HOME/starter" --try sh -c "$(cat "$HOME/../look")" > "$HOME/job$n" 2>&1 < /dev/null; done; exit 7'


class Host:
    """A drone's scratch folder of an ordinary user, on a host with the client, and other programs of a drone."""

    def __init__(self, place: Path) -> None:
        self.place, (self.bin) = place, place / "bin"
        self.bin.mkdir()
        programs = STAND_INS | {"condor_master": MASTER, "apptainer": "exit 0"}
        del programs["bwrap"]
        for name, body in programs.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / "cvmfs2").write_text(CLIENT)
        text = DRONE.read_text().replace("export PATH=", f"export PATH={self.bin}:", 1)
        # there is no Apptainer here, and FUSE is root's
        text = text.replace('exec apptainer -s exec --containall "$3" true', "true")
        (place / "drone.sh").write_text(text.replace("-r /dev/fuse && -w /dev/fuse", "-e /dev/fuse"))
        (place / "starter.py").write_text(STARTER.read_text())
        (place / f"{ARGUMENTS['uuid']}.token").write_text("a.b.c")
        for path in self.bin.iterdir():
            path.chmod(0o755)
        (place / "look").write_text(LOOK)
        self.home = place / "overlay"

    def run(self, *repositories: str, **more: Any) -> dict[str, str]:
        """What the slot says of repositories; what jobs saw is in `home`."""
        told = {
            "servers": {"example.org": "http://s1.example.org/cvmfs/@fqrn@"},
            "keys": {"example.org": [KEY]},
            "proxies": "DIRECT",
        }
        text = render(deploy.PACKAGE, "mounts.sh", quota=1000, **told | more)
        # the site's own settings; and less patience
        text = text.replace("/etc/cvmfs", f"{self.place}/etc").replace("timeout -k 5 60", "timeout -k 1 2")
        (self.place / "mounts.sh").write_text(text)
        words = [f"--{name}={value}" for name, value in (ARGUMENTS | {"cvmfs": ":".join(repositories)}).items()]
        subprocess.run(["chown", "-R", "nobody:", str(self.place)], check=True)
        # before the drone makes it: for `condor_master`
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash", str(self.place / "drone.sh"), *words]
        environment = {"_CONDOR_SCRATCH_DIR": str(self.place), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, timeout=100, check=False)
        print(done)
        assert (self.home / "condor_config").exists(), done
        self.said = done.stderr
        return read_ad(self.place)

    def read(self, name: str) -> str:
        return (self.home / name).read_text()


@pytest.fixture
def host() -> Iterator[Host]:
    # pytest's own folders are closed to others
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        yield Host(Path(place))
    left = subprocess.run(["pgrep", "-f", "^sleep 3737"], capture_output=True, text=True, check=False).stdout
    assert not left, "the client ends with the drone"


def test_jobs_see_what_the_drone_mounts(host: Host) -> None:
    ad = host.run("lab.example.org")
    assert ad == {"HasCVMFS_lab_example_org": "True", "HAS_CVMFS_lab_example_org": "True"}, host.read("log/mounts")
    for number in (1, 2):
        lines = host.read(f"job{number}").splitlines()
        assert lines[:4] == ["65534", "lab.example.org", "DIRECT", "http://s1.example.org/cvmfs/@fqrn@"], lines
        assert "lab.example.org" in lines[4:-3] and "Read-only file system" in lines[-3]
        assert lines[-2].split() == ["CapEff:", "0000000000000000"] and "No such file" in lines[-1]


def has(ad: dict[str, str]) -> list[str]:
    return [name.removeprefix("HasCVMFS_") for name, value in ad.items() if value == "True" and name.startswith("HasCVMFS_")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"keys": {"example.org": [KEY.replace("AAAA", "BBBB")]}}, "invalid whitelist signature"),
        ({"servers": {"example.org": "http://dead.example.org/cvmfs/@fqrn@"}}, "host connection problem"),
        ({"servers": {"example.org": "http://silent.example.org/cvmfs/@fqrn@"}}, ""),
        ({"servers": {}, "keys": {}}, "lab.example.org: nobody says where its servers are"),
        ({"proxies": ""}, "CVMFS_HTTP_PROXY required"),
    ],
    ids=["key", "dead", "silent", "unknown", "proxy"],
)
def test_what_cannot_be_mounted_is_none_of_the_slots(host: Host, more: dict[str, Any], said: str) -> None:
    assert has(host.run("lab.example.org", **more)) == []
    assert said in host.read("log/mounts")


def test_one_that_is_away_takes_no_other_with_it(host: Host) -> None:
    servers = {"example.org": "http://s1.example.org/cvmfs/@fqrn@", "example.net": "http://silent.example.net/cvmfs/@fqrn@"}
    keys = {"example.org": [KEY], "example.net": [KEY]}
    found = host.run("lab.example.net", "lab.example.org", "sub-one.example.org", servers=servers, keys=keys)
    assert has(found) == ["lab_example_org", "sub_one_example_org"]
    assert {path.name for path in (host.home / "cvmfs").glob("*/lock_cachedb")} == {"lock_cachedb"}
    assert len(list((host.home / "cvmfs").glob("*/lock_cachedb"))) == 2, "a cache for each: who waits for a lock waits for ever"


def test_what_the_site_knows_of_a_repository_holds(host: Host) -> None:
    etc = host.place / "etc"
    for name, text in {
        "default.conf": 'CVMFS_HTTP_PROXY="auto"\n',
        "default.local": 'CVMFS_HTTP_PROXY="http://squid.site.example:3128;DIRECT"\n',
        "domain.d/cern.ch.conf": 'CVMFS_SERVER_URL="http://s.cern.ch/cvmfs/@fqrn@"\nCVMFS_KEYS_DIR=@ETC@/keys\n'.replace(
            "@ETC@", str(etc)
        ),
        "keys/cern.pub": KEY,
    }.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text(text)
    assert has(host.run("sft.cern.ch")) == ["sft_cern_ch"], host.read("log/mounts")
    lines = host.read("job1").splitlines()
    assert lines[1:4] == ["sft.cern.ch", "http://squid.site.example:3128;DIRECT", "http://s.cern.ch/cvmfs/@fqrn@"]


def test_a_host_without_the_client_mounts_nothing(host: Host) -> None:
    (host.bin / "cvmfs2").unlink()
    assert has(host.run("lab.example.org")) == [] and not (host.home / "mounts").exists()
