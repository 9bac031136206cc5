from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.engine.sandbox import hosts as module
from farmlet.engine.sandbox.hosts import Hosts
from farmlet.errors import FarmletError, InputError

NAMES = {"head.farmlet.test": "10.213.0.10", "service.farmlet.test": "10.213.0.11"}
ORIGINAL = b"127.0.0.1\tlocalhost\n\n# mine\n192.168.1.1   router   # the box\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "hosts"
    found.write_bytes(ORIGINAL)
    return found


def entries(path: Path) -> dict[str, str]:
    """What a resolver reads: name → address."""
    lines = [line.split("#", 1)[0].split() for line in path.read_text().splitlines()]
    return {name: words[0] for words in lines for name in words[1:]}


@pytest.mark.parametrize("original", [ORIGINAL, ORIGINAL.rstrip(b"\n"), b"", b"\n\n"])
def test_what_was_there_comes_back(path: Path, original: bytes) -> None:
    path.write_bytes(original)
    before = entries(path)
    hosts = Hosts("lab", path)
    hosts.ensure(NAMES)
    assert entries(path) == before | NAMES
    once = path.read_bytes()
    hosts.ensure(NAMES)
    assert path.read_bytes() == once
    hosts.ensure({"head.farmlet.test": "10.213.0.99"})
    assert entries(path) == before | {"head.farmlet.test": "10.213.0.99"}
    for _ in range(2):
        hosts.remove()
        assert path.read_bytes() == original


lines = st.text(st.characters(codec="ascii", exclude_characters="\r"), max_size=60)


@given(before=lines, after=lines)
def test_any_surroundings_survive(tmp_path_factory: pytest.TempPathFactory, before: str, after: str) -> None:
    path = tmp_path_factory.mktemp("hosts") / "hosts"
    path.write_text(before)
    hosts = Hosts("lab", path)
    hosts.ensure(NAMES)
    with path.open("a") as handle:
        handle.write(after)  # another program adds to it
    hosts.ensure({"other.farmlet.test": "10.213.0.12"})
    hosts.remove()
    assert path.read_bytes() == (before + after).encode()


@pytest.mark.parametrize("foreign", [b"127.0.0.1 localhost\r\n10.0.0.1 old\r\n", b"10.0.0.1 caf\xe9\n"])
def test_bytes_that_are_not_text_of_ours_survive(path: Path, foreign: bytes) -> None:
    path.write_bytes(foreign)
    hosts = Hosts("lab", path)
    hosts.ensure(NAMES)
    assert foreign in path.read_bytes()
    hosts.remove()
    assert path.read_bytes() == foreign


def test_the_script_for_nodes_writes_the_same_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's hosts file is written by a shell there; the two must agree, for this host may be the node."""
    monkeypatch.setattr(module, "PATH", path)
    run, unless = module.script("lab", NAMES)

    def shell(text: str) -> int:
        return subprocess.run(["sh", "-ec", text]).returncode

    assert shell(unless) != 0
    for _ in range(2):
        assert shell(run) == 0 and shell(unless) == 0
        assert entries(path) == {"localhost": "127.0.0.1", "router": "192.168.1.1"} | NAMES
    once = path.read_bytes()
    Hosts("lab", path).ensure(NAMES)
    assert path.read_bytes() == once
    assert shell(module.script("lab", {"a.b": "10.0.0.1"})[1]) != 0, "another address is seen"
    Hosts("lab", path).remove()
    assert path.read_bytes() == ORIGINAL


def test_two_facilities_do_not_meet(path: Path) -> None:
    one, other = Hosts("lab", path), Hosts("lab2", path)
    one.ensure(NAMES)
    other.ensure({"head.other.test": "10.213.1.10"})
    one.remove()
    assert "head.other.test" in entries(path) and "head.farmlet.test" not in entries(path)
    other.remove()
    assert path.read_bytes() == ORIGINAL


def test_no_file_yet(tmp_path: Path) -> None:
    hosts = Hosts("lab", tmp_path / "hosts")
    hosts.remove()
    assert not (tmp_path / "hosts").exists()
    hosts.ensure(NAMES)
    assert entries(tmp_path / "hosts") == NAMES


def test_a_taken_name_is_refused_with_its_line(path: Path) -> None:
    hosts = Hosts("lab", path)
    hosts.refuse_taken(NAMES)
    path.write_bytes(ORIGINAL + b"10.9.9.9 alias head.farmlet.test # theirs\n")
    with pytest.raises(InputError) as caught:
        hosts.refuse_taken(NAMES)
    assert "head.farmlet.test" in caught.value.what and "10.9.9.9" in caught.value.what and caught.value.hint
    path.write_bytes(ORIGINAL + b"# 10.9.9.9 head.farmlet.test\n10.9.9.9 head.farmlet.test.example\n")
    hosts.refuse_taken(NAMES)


def test_our_own_names_are_not_taken(path: Path) -> None:
    hosts = Hosts("lab", path)
    hosts.ensure(NAMES)
    hosts.refuse_taken(NAMES)
    with pytest.raises(InputError):
        Hosts("lab2", path).refuse_taken(NAMES)


def test_a_block_without_end_is_not_guessed_at(path: Path) -> None:
    hosts = Hosts("lab", path)
    hosts.ensure(NAMES)
    broken = path.read_text().replace("# farmlet lab: end\n", "")
    path.write_text(broken)
    for act in (lambda: hosts.ensure(NAMES), hosts.remove, lambda: hosts.refuse_taken(NAMES)):
        with pytest.raises(FarmletError) as caught:
            act()
        assert str(path) == caught.value.where and caught.value.hint
    assert path.read_text() == broken
