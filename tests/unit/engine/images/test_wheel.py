from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import farmlet
from farmlet.engine.images.wheel import Wheel, pack


@pytest.fixture(scope="module")
def wheel() -> Wheel:
    return pack()


def contents(wheel: Wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_two_packs_are_the_same_bytes(wheel: Wheel) -> None:
    again = pack.__wrapped__()
    # others may be writing to the tree while tests run: compare what both read
    if contents(again) == contents(wheel):
        assert again == wheel
    script = "import sys; from farmlet.engine.images.wheel import pack; sys.stdout.write(pack().digest)"
    both = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert both[0] == both[1] and len(both[0]) == 64, "nor does it depend on the process"


def test_record_is_right(wheel: Wheel) -> None:
    files = contents(wheel)
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    rows = {row[0]: row[1:] for row in csv.reader(files[record].decode().splitlines())}
    assert set(rows) == set(files)
    assert rows.pop(record) == ["", ""]
    for name, (digest, size) in rows.items():
        found = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={found}", len(files[name])), name


def test_it_holds_the_package_and_no_caches(wheel: Wheel) -> None:
    files = contents(wheel)
    assert {"farmlet/__init__.py", "farmlet/errors.py", "farmlet/facility/sandbox.yaml", "farmlet/engine/nodes/init.sh"} <= set(
        files
    )
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert hashlib.sha256(wheel.data).hexdigest() == wheel.digest


@pytest.mark.timeout(240)
def test_pip_installs_it_without_network(wheel: Wheel, tmp_path: Path) -> None:
    (tmp_path / wheel.name).write_bytes(wheel.data)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    command = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
        str(tmp_path / wheel.name),
    ]
    subprocess.run(command, check=True, cwd=tmp_path)
    show = "import farmlet, farmlet.parts.base.agent; print(farmlet.__version__, farmlet.__file__)"
    found = subprocess.run([python, "-I", "-c", show], capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
    assert found[0] == farmlet.__version__ and found[1].startswith(str(tmp_path))
    done = subprocess.run([tmp_path / "venv" / "bin" / "farmlet", "--version"], capture_output=True, text=True, check=True)
    assert farmlet.__version__ in done.stdout
