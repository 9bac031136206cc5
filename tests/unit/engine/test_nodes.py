"""`probe.py`, `steps.py` and `place.py` as nodes run them: programs of their own, on paths of the test's."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from farmlet.engine.plan import fingerprint, source
from farmlet.errors import FarmletError
from farmlet.parts.resources import (
    Absent,
    Certificate,
    Command,
    Directory,
    Environment,
    File,
    KeyPair,
    Random,
    Resource,
    Unit,
    Wanted,
)

if TYPE_CHECKING:
    from conftest import Node

root = pytest.mark.skipif(os.geteuid() != 0, reason="owners are given by root only")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@root
def test_files_and_directories(node: Node, tmp_path: Path) -> None:
    place = tmp_path / "srv"
    resources: list[Resource] = [
        Directory(str(place), 0o750, "daemon", "daemon"),
        File(str(place / "text"), "größe\n", 0o640, "root", "daemon"),
        File(str(place / "raw"), bytes(range(256)), 0o600),
        File(str(place / "deeper" / "file"), ""),
    ]
    assert node.look(*resources) == {resource.label: "not there" for resource in resources}
    for _ in range(2):
        node.put(*resources)
        assert node.look(*resources) == {}
    assert (place / "raw").read_bytes() == bytes(range(256)) and mode(place) == 0o750
    assert (place / "text").group() == place.owner() == "daemon"
    (place / "text").write_text("tampered")
    (place / "raw").chmod(0o644)
    os.chown(place, 0, 0)
    found = node.look(*resources)
    assert found[resources[1].label] == "content differs"
    assert "0644 root:root" in found[resources[2].label] and "root:root" in found[resources[0].label]
    node.put(*resources)
    assert node.look(*resources) == {}
    assert not [path for path in place.rglob("*farmlet-new*")]


@root
def test_a_symbolic_link_in_place_of_a_file_is_replaced_not_followed(node: Node, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "srv"
    path.symlink_to(victim)
    resource = File(str(path), "ours", 0o600)
    node.put(resource)
    assert victim.read_text() == "precious" and not path.is_symlink() and node.look(resource) == {}


@root
def test_a_planted_link_beside_the_target_is_not_followed(node: Node, tmp_path: Path) -> None:
    """A folder may belong to a service's user: what it plants there must not make root write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(f"{tmp_path}/file.farmlet-new").symlink_to(victim)
    node.put(File(f"{tmp_path}/file", "ours", 0o666))
    assert victim.read_text() == "precious" and mode(victim) != 0o666


@root
def test_a_link_in_place_of_a_directory_gives_nothing_away(node: Node, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (tmp_path / "box").symlink_to(victim)
    with suppress(FarmletError):  # refusing is as good
        node.put(Directory(f"{tmp_path}/box", 0o777, "daemon", "daemon"))
    assert victim.owner() == "root" and mode(victim) == 0o700


@root
def test_absent(node: Node, tmp_path: Path) -> None:
    file, folder, link, kept = (tmp_path / name for name in ("file", "folder", "link", "kept"))
    file.write_text("")
    (folder / "deep").mkdir(parents=True)
    kept.mkdir()
    link.symlink_to(kept)
    resources = [Absent(str(path)) for path in (file, folder, link)]
    assert set(node.look(*resources).values()) == {"is there"}
    for _ in range(2):
        node.put(*resources)
        assert node.look(*resources) == {}
    assert kept.is_dir()


@root
def test_a_secret_is_made_once(node: Node, tmp_path: Path) -> None:
    resource = Random(str(tmp_path / "deep" / "secret"), 16)
    node.put(resource)
    made = Path(resource.path).read_text()
    assert re.fullmatch("[0-9a-f]{32}", made) and mode(Path(resource.path)) == 0o600
    Path(resource.path).chmod(0o644)
    assert "0644" in node.look(resource)[resource.label]
    node.put(resource)
    assert Path(resource.path).read_text() == made and node.look(resource) == {}


@root
def test_a_key_pair_is_made_once_and_shows_its_public_half(node: Node, tmp_path: Path) -> None:
    resource = KeyPair(str(tmp_path / "key"), comment="of a test")
    assert node.look(resource) == {resource.label: "not there"}
    node.put(resource)
    assert node.look(resource) == {} and node.keys[resource.path].startswith("ssh-ed25519 ")
    assert "PRIVATE" not in json.dumps(node.keys)
    first = node.keys
    node.put(resource)
    node.look(resource)
    assert node.keys == first and mode(tmp_path / "key") == 0o600


@root
def test_a_key_pair_without_its_public_half_is_mended(node: Node, tmp_path: Path) -> None:
    """ssh-keygen writes the private half first: a node that lost power between the two must not stay broken."""
    resource = KeyPair(str(tmp_path / "key"))
    node.put(resource)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "key.pub").unlink()
    assert resource.label in node.look(resource)
    node.put(resource)
    assert node.look(resource) == {} and (tmp_path / "key.pub").read_text().split()[:2] == public.split()[:2]


@root
def test_stamps(node: Node) -> None:
    step = Command("once", "true")
    want = fingerprint(Wanted("a.b", (step,)), step)
    assert node.look(step) == {step.label: "not done for this configuration"}
    node.stamp("a.b: step once", want)
    assert node.look(step) == {}
    assert node.look(replace(step, run="false")) != {}, "another command is another step"
    assert node.look(File("/etc/hostname-that-is-not-there", ""), step)[step.label], "as is one after something else"
    node.stamp("x.y: unit z", "1")
    node.do(forget=["a.b: step once", "never: heard of"])
    assert node.stamps == {"x.y: unit z": "1"}
    node.do()
    assert node.stamps == {"x.y: unit z": "1"}


@root
def test_broken_stamps_are_no_stamps(node: Node) -> None:
    node.stamp("one", "1")
    (node.folder / "state" / "stamps").write_text('{"one"')
    assert node.look(Command("once", "true")) != {}
    node.stamp("two", "2")
    assert node.stamps == {"two": "2"}


@root
def test_a_step_with_a_test(node: Node, tmp_path: Path) -> None:
    step = Command("flag", "true", unless=f"test -e {tmp_path}/flag")
    assert node.look(step) == {step.label: "not done"}
    (tmp_path / "flag").write_text("")
    assert node.look(step) == {}


def test_environments(node: Node, tmp_path: Path) -> None:
    resource = Environment(str(tmp_path / "env"), "x==1")
    assert node.look(resource) == {resource.label: "not there"}
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / ".requirements").write_text(resource.digest)
    assert node.look(resource) == {resource.label: "its python is gone"}
    (tmp_path / "env" / "bin" / "python").write_text("")
    assert node.look(resource) == {}
    assert node.look(replace(resource, requirements="x==2")) == {resource.label: "other requirements"}


def test_a_broken_node_is_a_finding_not_a_crash(node: Node, tmp_path: Path) -> None:
    (tmp_path / "own.crt").write_text("garbage")
    (tmp_path / "own.key").write_text("garbage")
    broken = Certificate(f"{tmp_path}/own.crt", f"{tmp_path}/own.key", ("head.tiny.test",))
    nobody = File("/etc/hostname-that-is-not-there", "", owner="nobody-of-this-name")
    unit = Unit("no-such-unit-here.service")
    found = node.look(broken, nobody, unit)
    assert set(found) == {broken.label, nobody.label, unit.label}


def test_the_probe_changes_nothing(node: Node, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    node.look(
        File(f"{tmp_path}/a", "1"),
        Directory(f"{tmp_path}/b"),
        KeyPair(f"{tmp_path}/c"),
        Random(f"{tmp_path}/d"),
        Command("e", "touch /nowhere"),
    )
    node.authority.ensure()
    assert {path for path in sorted(tmp_path.rglob("*")) if path not in before} <= {
        tmp_path / f"ca.{end}" for end in ("crt", "key", "crl")
    }


@pytest.mark.parametrize("name", ["probe", "place", "steps"])
def test_they_need_nothing_but_python(name: str) -> None:
    """They arrive as text and run with what Debian has: no package of ours or anyone's."""
    imported = re.findall(r"(?m)^(?:import|from) (\w+)", source(name))
    assert imported and set(imported) <= {*sys.stdlib_module_names, "place"}
    assert "farmlet." not in source(name).replace("farmlet.json", "")
