"""A site broken in five ways: each is noticed by the test that is about it, shown, keeps drones away and raises an alarm within a
minute at an interval of half a minute; mended, the gate opens and the alarm clears. In CI four break at once; one by one they are
a soak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from alarms import ask
from sandbox import Sandbox, until

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
def test_what_breaks_is_noticed_shown_and_gated_and_cleared_when_it_is_mended(sandbox: Sandbox, names: list[str]) -> None:
    until(lambda: find_site(sandbox)["open"], 120)
    with ExitStack() as stack:
        found = [stack.enter_context(broken(sandbox, name)) for name in names]
        start = time.monotonic()
        wanted = {one.test for one in found}
        until(lambda: wanted <= tell(sandbox).keys(), 2 * MINUTE)
        print(f"{', '.join(names)}: gated after {time.monotonic() - start:.0f} s")
        told = tell(sandbox)
        until(lambda: ask(sandbox, ALARM), 2 * MINUTE)
        print(f"{', '.join(names)}: alarmed after {time.monotonic() - start:.0f} s")
        for one in found:
            assert one.said in told[one.test], told
        (row,) = [row for row in sandbox.json("check", "sitetests.site.tier1", code=1) if row["check"] == "sitetests.site.tier1"]
        assert not row["ok"] and all(f"{one.test}: " in row["evidence"] for one in found)
    start = time.monotonic()
    until(lambda: find_site(sandbox)["open"], 2 * MINUTE)
    print(f"{', '.join(names)}: open {time.monotonic() - start:.0f} s after it was mended")
    until(lambda: not ask(sandbox, ALARM), MINUTE)
    last = sandbox.json("sitetest", "history", "tier1")
    assert [row["ok"] for row in last[:2]] == [True, False]
