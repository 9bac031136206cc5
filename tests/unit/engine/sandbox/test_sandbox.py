"""The Docker side of a facility, as far as it needs no Docker."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farmlet.engine.images import build as images
from farmlet.engine.images import trees
from farmlet.engine.layout import Layout
from farmlet.engine.report import Report
from farmlet.engine.sandbox import docker as engine
from farmlet.engine.sandbox import sandbox as module
from farmlet.engine.sandbox.disk import Disk
from farmlet.engine.sandbox.docker import FOLDER_LABEL
from farmlet.engine.sandbox.sandbox import Sandbox
from farmlet.engine.store import Store
from farmlet.errors import FarmletError, InputError
from farmlet.facility.model import Facility
from farmlet.parts.part import Part

MIXED = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test}
nodes:
  head: {connect: container, runs: [upper, lower]}
  service: {connect: ssh, address: 192.0.2.7, runs: [identity]}
"""
LEARNT = "192.0.2.7 ssh-ed25519 LEARNT-ONCE\n"


class Blank:
    """A driver of build nodes that are made at once."""

    def __init__(self, *rest: Any) -> None:
        self.removed: list[str] = []

    def ensure(self, machine: Any) -> None: ...
    def stop(self, machine: Any) -> None: ...

    def remove(self, machine: Any) -> None:
        self.removed.append(machine.name)

    def state(self, machine: Any) -> str:
        return "absent"

    def name(self, machine: Any) -> str:
        return f"farmlet-tiny-{machine.name}"

    def address(self, machine: Any) -> str:
        return "10.213.4.200"

    def host_key(self, machine: Any) -> str:
        return "ssh-ed25519 BUILD"

    def shell(self, machine: Any) -> Blank:
        return self

    def run(self, *rest: Any) -> str:
        return ""


@pytest.fixture
def built(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sandbox, Layout, Blank]:
    """A sandbox whose Docker is replaced, about to build the image of `head`."""
    facility, driver = load_facility(MIXED), Blank()
    sandbox = Sandbox(facility, store)
    layout = Layout(facility, parts, (), store, {"head": driver, "service": driver})  # type: ignore[dict-item]
    store.save(subnet="10.213.4.0/24")
    monkeypatch.setattr(module, "ContainerDriver", lambda *rest: driver)
    monkeypatch.setattr(module, "apply", lambda *rest: None)
    monkeypatch.setattr(images.Base, "ensure", lambda self, client, tell: "blank")
    monkeypatch.setattr(images, "exists", lambda client, key: False)
    monkeypatch.setattr(images, "commit", lambda client, container, key, held: None)
    monkeypatch.setattr(trees, "take", lambda client, repository, container, wanted: set())
    sandbox.__dict__["client"] = object()
    return sandbox, layout, driver


def test_a_learnt_host_key_survives_an_image_build(built: tuple[Sandbox, Layout, Blank], store: Store) -> None:
    """A host's key is taken on trust once. To forget it is to trust whoever answers next."""
    sandbox, layout, _ = built
    store.known.write_text(LEARNT)
    sandbox.ensure_images(layout, Report(io.StringIO()))
    assert LEARNT.strip() in store.known.read_text().splitlines()


def test_build_nodes_are_removed(built: tuple[Sandbox, Layout, Blank]) -> None:
    sandbox, layout, driver = built
    tags = sandbox.ensure_images(layout, Report(io.StringIO()))
    assert driver.removed[-1:] == ["build-head"] and list(tags) == ["head"]
    base = images.tag(images.Base().key)
    made = sandbox.store.load()["images"]
    assert set(made) == {base, *tags.values()}, "a purge removes these and no others"
    assert made[-1] == base, "a base cannot go before what was made of it"


@pytest.mark.parametrize(
    "point",
    ["install", "boot"],
)
def test_build_nodes_are_removed_after_a_failure(
    built: tuple[Sandbox, Layout, Blank], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, layout, driver = built

    def fail(*rest: Any) -> None:
        driver.removed.clear()  # what was removed before does not count
        raise KeyboardInterrupt

    if point == "install":
        monkeypatch.setattr(module, "apply", fail)
    else:
        monkeypatch.setattr(driver, "ensure", fail)
    with pytest.raises(KeyboardInterrupt):
        sandbox.ensure_images(layout, Report(io.StringIO()))
    assert "build-head" in driver.removed


def test_a_failed_build_is_kept_when_asked_for(built: tuple[Sandbox, Layout, Blank], monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, layout, driver = built

    def fail(*rest: Any) -> None:
        driver.removed.clear()
        raise FarmletError("node build-head", "why")

    monkeypatch.setattr(module, "apply", fail)
    sandbox.retain, stream = True, io.StringIO()
    with pytest.raises(FarmletError):
        sandbox.ensure_images(layout, Report(stream))
    assert driver.removed == [] and "farmlet-tiny-build-head" in stream.getvalue()


class Container:
    """As much of a container as a purge looks at."""

    def __init__(self, folder: str) -> None:
        self.labels, self.attrs = {FOLDER_LABEL: folder}, {"Image": "sha256:1"}


def test_another_folders_facility_of_the_same_name_is_refused(
    built: tuple[Sandbox, Layout, Blank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge goes by label: without this, an empty folder and the same name would remove someone's facility."""
    sandbox, _, _ = built
    found: dict[str, list[Any]] = {"containers": [], "networks": [], "volumes": []}
    monkeypatch.setattr(engine, "owned", lambda client, name: found)
    for folder, refused in ((str(sandbox.store.path), False), ("/gone/.farmlet/tiny", False), (str(tmp_path), True)):
        found["containers"] = [Container(folder)]
        if refused:
            with pytest.raises(InputError, match="another folder"):
                sandbox.owned()
        else:
            assert sandbox.owned() == found


def test_a_facility_of_hosts_asks_no_docker(
    load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store, tmp_path: Path
) -> None:
    facility = load_facility(MIXED.replace("connect: container", "connect: ssh, address: 192.0.2.8"))
    sandbox = Sandbox(facility, store)
    layout = Layout(facility, parts, (), store, {})
    assert sandbox.contained() == [] and sandbox.ensure_images(layout, Report(io.StringIO())) == {}
    assert {type(driver).__name__ for driver in sandbox.drivers(layout).values()} == {"SshDriver"}
    sandbox.purge()
    assert "client" not in sandbox.__dict__


class Refused(Disk):
    """A host that has no loop devices."""

    def make(self) -> None:
        raise FarmletError("this host", "no loop devices")


@pytest.fixture
def fresh(load_facility: Callable[[str], Facility], parts: dict[str, Part], store: Store) -> tuple[Sandbox, Layout]:
    facility = load_facility(MIXED)
    return Sandbox(facility, store), Layout(facility, with_rooms(parts), (), store, {})


def with_rooms(parts: dict[str, Part]) -> dict[str, Part]:
    """The same parts, each of whose roles keeps folders to sizes."""
    return {
        name: replace(part, roles=tuple(replace(role, data=("/srv/x",), quotas=("/srv/x",)) for role in part.roles))
        for name, part in parts.items()
    }


def test_a_host_without_a_disk_is_told_once_and_the_sandbox_stays_without(fresh: tuple[Sandbox, Layout], store: Store) -> None:
    sandbox, layout = fresh
    sandbox.disk = Refused(store.path)
    said = io.StringIO()
    for _ in range(2):
        sandbox.ensure_disk(layout, Report(said))
    assert said.getvalue().count("no limits of homes and storage in this sandbox: this host: no loop devices") == 1
    assert store.load()["disk"]
    assert sandbox.drivers(layout, make=False)["head"].__dict__["_disk"] is None


def test_a_sandbox_from_before_stays_without_a_disk(fresh: tuple[Sandbox, Layout], store: Store) -> None:
    sandbox, layout = fresh
    store.save(addresses={"head": "10.213.4.10"})
    sandbox.ensure_disk(layout, Report(io.StringIO()))
    assert "disk" not in store.load() and not sandbox.disk.image.exists()


def test_a_disk_is_mounted_whenever_nodes_may_start(fresh: tuple[Sandbox, Layout], store: Store) -> None:
    sandbox, layout = fresh
    calls: list[str] = []
    sandbox.disk.__dict__ |= {"make": lambda: calls.append("make"), "attach": lambda: calls.append("attach")}
    for _ in range(3):
        sandbox.ensure_disk(layout, Report(io.StringIO()))
    assert calls == ["make", "attach", "attach"]
    assert sandbox.drivers(layout, make=False)["head"].__dict__["_disk"] == sandbox.disk.path
