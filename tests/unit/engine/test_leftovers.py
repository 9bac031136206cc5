"""A role that is taken out of a node's `runs`: its units stop, its files go, and nothing of another role's."""

from __future__ import annotations

from dataclasses import replace

from farmlet.engine.leftovers import Made, find_left, join, list_made
from farmlet.parts.resources import Absent, Command, Directory, File, Packages, Unit, Wanted

CONDOR = Unit("condor.service", reload=True)
ACCESS = Wanted("batch.access", (File("/etc/condor/config.d/60-farmlet-access.config", "schedd"), CONDOR))
EXECUTE = Wanted("batch.execute", (File("/etc/condor/config.d/60-farmlet-execute.config", "startd"), CONDOR))
STORAGE = Wanted(
    "storage.element",
    (
        Packages(("xrootd-server",)),
        Directory("/srv/farmlet/storage"),
        File("/etc/xrootd/xrootd.cfg", "the package's own place"),
        File("/etc/systemd/system/farmlet-storage.service", "[Service]"),
        Unit("farmlet-storage.service"),
        Unit("xrootd.service", running=False),
    ),
)


def test_what_is_made_is_remembered_without_what_was_only_undone() -> None:
    left = Wanted("old.role.left", (Absent("/etc/farmlet/old"),))
    assert list_made((left, STORAGE)) == {
        "storage.element": {"units": ["farmlet-storage.service"], "files": ["/etc/systemd/system/farmlet-storage.service"]}
    }


def test_units_of_a_role_that_went_are_stopped_before_their_files_go() -> None:
    (left,) = find_left((ACCESS,), list_made((ACCESS, STORAGE)))
    assert left.role == "storage.element.left"
    assert left.resources == (
        Unit("farmlet-storage.service", running=False),
        Absent("/etc/systemd/system/farmlet-storage.service"),
    )


def test_a_unit_that_another_role_has_too_goes_on_without_what_went() -> None:
    (left,) = find_left((ACCESS,), list_made((ACCESS, EXECUTE)))
    assert left.resources == (Absent("/etc/condor/config.d/60-farmlet-execute.config"), CONDOR)


def test_the_way_in_stays_open_without_our_settings() -> None:
    force = Command("settings that sshd takes", "mv", makes=("/etc/ssh/sshd_config.d/00-farmlet.conf",))
    login = Wanted("access.login", (File("/etc/farmlet/sshd.conf", "text"), force, Unit("ssh.service", reload=True)))
    (left,) = find_left((), list_made((login,)))
    settings = (Absent("/etc/farmlet/sshd.conf"), Absent("/etc/ssh/sshd_config.d/00-farmlet.conf"))
    assert left.resources == (*settings, Unit("ssh.service", reload=True))


def test_what_any_role_wants_stays() -> None:
    moved = replace(EXECUTE, role="batch.worker")
    assert find_left((moved, ACCESS), list_made((EXECUTE, ACCESS))) == []
    folder = Wanted("a.b", (Directory("/etc/farmlet/d"),))
    assert find_left((folder,), {"a.c": {"units": [], "files": ["/etc/farmlet/d"]}}) == []


def test_a_file_that_a_role_no_longer_has_goes_too() -> None:
    before = list_made((ACCESS,))
    after = replace(ACCESS, resources=(File("/etc/condor/config.d/70-farmlet-access.config", "schedd"), CONDOR))
    (left,) = find_left((after,), before)
    assert left.resources[0] == Absent("/etc/condor/config.d/60-farmlet-access.config")


def test_between_two_configurations_both_may_be_there() -> None:
    before: Made = {"a.b": {"units": ["x"], "files": ["/farmlet/1"]}, "gone.role": {"units": ["y"], "files": []}}
    after: Made = {"a.b": {"units": ["x"], "files": ["/farmlet/2"]}, "new.role": {"units": [], "files": []}}
    assert join(before, after) == {
        "a.b": {"units": ["x"], "files": ["/farmlet/1", "/farmlet/2"]},
        "gone.role": {"units": ["y"], "files": []},
        "new.role": {"units": [], "files": []},
    }
