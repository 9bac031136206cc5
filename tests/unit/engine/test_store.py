from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from farmlet.engine.store import Store
from farmlet.errors import FarmletError, InputError

HOLD = """
import sys
from pathlib import Path
from farmlet.engine.store import Store
with Store(Path(sys.argv[1]), "lab").locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "lab")


def test_the_folder_is_private_and_ignored_by_git(store: Store, tmp_path: Path) -> None:
    assert not store.exists()
    for _ in range(2):
        store.ensure()
    assert store.exists()
    assert mode(tmp_path / ".farmlet") == mode(store.path) == 0o700
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (store.path / "secret").write_text("x")
    assert subprocess.run(["git", "-C", tmp_path, "status", "--porcelain"], capture_output=True, text=True).stdout == ""


def test_an_open_folder_is_closed_again(store: Store) -> None:
    store.ensure()
    store.path.chmod(0o755)
    store.ensure()
    assert mode(store.path) == 0o700


def test_no_room_for_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FarmletError, match="state folder"):
        Store(tmp_path / "file", "lab").ensure()


def test_a_second_command_is_refused_in_words(store: Store, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InputError) as caught, store.locked():
            pytest.fail("two commands at once")
        assert "lab" in caught.value.where and "another farmlet" in caught.value.what and caught.value.hint
        with Store(tmp_path, "lab2").locked():
            pass  # another facility in the same folder is not concerned
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.close()
        holder.stdout.close()
    with store.locked():
        pass  # a killed command leaves no lock


def test_the_lock_ends_with_an_error(store: Store) -> None:
    with pytest.raises(RuntimeError), store.locked():
        raise RuntimeError
    with store.locked():
        pass


def test_values_are_merged(store: Store) -> None:
    store.ensure()
    assert store.load() == {}
    store.save(addresses={"head": "10.0.0.1"}, subnet="10.0.0.0/24")
    store.save(subnet="10.0.1.0/24")
    assert store.load() == {"addresses": {"head": "10.0.0.1"}, "subnet": "10.0.1.0/24"}
    assert mode(store.path / "state.json") == 0o600
    assert {path.name for path in store.path.iterdir()} == {"state.json"}, "nothing is left beside it"


def test_a_reader_never_sees_half(store: Store) -> None:
    store.ensure()
    store.save(text="x")
    stop = threading.Event()

    def save() -> None:
        for length in range(300):
            store.save(text="x" * length * 100)
        stop.set()

    writer = threading.Thread(target=save)
    writer.start()
    while not stop.is_set():
        assert set(store.load()["text"]) <= {"x"}
    writer.join()


def test_a_corrupt_file_is_told_with_a_way_out(store: Store) -> None:
    store.ensure()
    (store.path / "state.json").write_text('{"addresses": {"he')
    with pytest.raises(FarmletError) as caught:
        store.load()
    assert caught.value.where.endswith("state.json") and "remove" in caught.value.hint


def test_the_deploy_key(store: Store) -> None:
    store.ensure()
    public = store.ensure_key()
    assert public.startswith("ssh-ed25519 ") and "lab" in public
    assert store.ensure_key() == public
    assert mode(store.key) == 0o600
    derived = subprocess.run(["ssh-keygen", "-y", "-f", store.key], capture_output=True, text=True, check=True).stdout
    assert derived.split()[:2] == public.split()[:2]


def test_a_key_pair_half_written_is_mended(store: Store) -> None:
    """ssh-keygen writes the private half first; a kill between the two must not end in a traceback for ever."""
    store.ensure()
    public = store.ensure_key()
    store.key.with_suffix(".pub").unlink()
    assert store.ensure_key().split()[:2] == public.split()[:2]


def test_a_key_with_a_passphrase_is_told_in_words(store: Store) -> None:
    store.ensure()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", store.key], check=True)
    store.key.with_suffix(".pub").unlink()
    with pytest.raises(FarmletError, match="passphrase"):
        store.ensure_key()


def test_removal_spares_the_neighbours(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path, "lab2")
    store.ensure()
    other.ensure()
    store.remove()
    assert not store.exists() and other.exists()
    other.remove()
    assert not (tmp_path / ".farmlet").exists()
    assert tmp_path.exists()
    other.remove()
