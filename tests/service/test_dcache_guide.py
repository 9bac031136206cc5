"""The lines of the members' guide on data, as they stand there, against a dCache (a stand-in for one) and by real clients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcache import PREFIX
from dcache.centre import Centre
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "docs"))
from commands import CURL, blocks  # noqa: E402

pytestmark = pytest.mark.service
GUIDE = blocks(ROOT / "docs" / "howto" / "user" / "data.md", CURL)
OWN, SITE = "https://head.farmlet.test:8443", "https://tier1.sites.farmlet.test:8443"
# XRootD's tool, which this machine need not have
ADLER = """\
#!/usr/bin/env python3
import sys, zlib
print(f"{zlib.adler32(open(sys.argv[1], 'rb').read()):08x} {sys.argv[1]}")
"""
SIZES = (100, 3 << 20)  # curl sends what is larger in another way


@pytest.fixture
def centre(running: Centre, tmp_path: Path) -> Centre:
    running.reset()
    running.dcache.trusted = running.cafile
    (tmp_path / "token").write_text(running.token("storage.read:/ storage.modify:/users/ada"))
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "xrdadler32").write_text(ADLER)
    (tmp_path / "xrdadler32").chmod(0o755)
    return running


def run(centre: Centre, folder: Path, *scripts: str) -> subprocess.CompletedProcess[str]:
    """As on a log-in node: the token's place and the authorities are known."""
    there = {"BEARER_TOKEN_FILE": str(folder / "token"), "CURL_CA_BUNDLE": str(centre.cafile)}
    there |= {"PATH": f"{folder}:{os.environ['PATH']}"}
    text = "\n".join(scripts).replace(OWN, centre.dcache.base).replace(SITE, f"{centre.dcache.base}/users/ada/site")
    text = text.replace("/users/ada/site/users/ada/", "/users/ada/site/")
    command = ["bash", "-euo", "pipefail", "-c", text]
    return subprocess.run(command, cwd=folder, env=os.environ | there, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("size", SIZES)
def test_each_line_does_what_it_says(centre: Centre, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "data.root").write_bytes(data)
    centre.dcache.namespace.make_folder(f"{PREFIX}/users/ada/site/run1")
    keep = "arrived data.root $url/run1/data.root\n"
    assert len(GUIDE) == 4 and keep.strip() in GUIDE[1].replace('"', "")
    done = run(centre, tmp_path, *GUIDE)
    assert done.returncode == 0, done
    assert (tmp_path / "copy.root").read_bytes() == data
    assert done.stdout.count("success: Created") == 2 and "adler32=" in done.stdout.lower()
    for name in ("run1/data.root", "run1/data.root-back", "site/run1/data.root"):
        assert centre.read(f"/users/ada/{name}") == data, name


def test_the_pool_is_told_no_token(centre: Centre, tmp_path: Path) -> None:
    (tmp_path / "data.root").write_bytes(os.urandom(SIZES[1]))
    assert run(centre, tmp_path, *GUIDE[:2]).returncode == 0
    told = [one for one in centre.dcache.heard if one.port == "pool"]
    assert [one.method for one in told] == ["PUT", "GET"]
    assert not any("Authorization" in one.headers for one in told)


def test_half_an_upload_is_found_out(centre: Centre, tmp_path: Path) -> None:
    """Its entry has a length and a checksum."""
    (tmp_path / "data.root").write_bytes(os.urandom(1000))
    token = (tmp_path / "token").read_text()
    centre.break_off(centre.lead("PUT", "/users/ada/run1/data.root", token), (tmp_path / "data.root").read_bytes()[:500])
    until(lambda: "content-length" in centre.ask("HEAD", "/users/ada/run1/data.root", token).headers)
    upload, look = GUIDE[0].splitlines()[:2], GUIDE[1].splitlines()[:5]
    told = run(centre, tmp_path, *upload, *look)
    assert told.returncode != 0 and "data.root is not data.root" in told.stderr
    assert run(centre, tmp_path, GUIDE[0], *look).returncode == 0, "sent again"
    for nothing in ("none.root", "data.root"):  # neither an end that is not there
        lost = [*look[:4], f'arrived {nothing} "$url/run1/none"']
        assert run(centre, tmp_path, "set +e +o pipefail", upload[0], upload[1], *lost).returncode != 0
