"""Images by a Dockerfile, with the real buildah: what comes of it, and what it may not do."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.software import dockerfile
from farmlet.parts.software.bundle import bundle
from farmlet.parts.software.dockerfile import build

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]
SCRIPT = Path(dockerfile.__file__).parent / "templates" / "dockerfile.sh"
USER = "farmlet-test-build"
PROGRAMS = ("bash", "cat", "chmod", "chown", "id", "ln", "mkdir", "mknod", "mount", "touch")


@pytest.fixture(scope="module")
def script() -> Iterator[str]:
    """The program, for an account that owns nothing here but ids, and a home that newer versions want."""
    with tempfile.TemporaryDirectory(prefix="farmlet-test-", dir="/var/tmp") as name:
        home = Path(name)
        (home / ".config").mkdir()
        shutil.copy(SCRIPT, home / "dockerfile.sh")
        (home / "dockerfile.sh").chmod(0o755)
        before = {path: path.read_text() for path in (Path("/etc/subuid"), Path("/etc/subgid"))}
        subprocess.run(["useradd", "--system", "--home-dir", name, USER], check=True)
        try:
            subprocess.run(["chown", "-R", f"{USER}:", name], check=True)
            for path, text in before.items():
                path.write_text(f"{text}{USER}:4000000000:65536\n")
            yield str(home / "dockerfile.sh")
        finally:
            subprocess.run(["userdel", USER], check=True)
            for path, text in before.items():
                path.write_text(text)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with a shell."""
    root = tmp_path_factory.mktemp("image") / "root"
    for name in ("dev", "etc", "opt", "proc", "sys", "tmp", "usr/bin"):
        (root / name).mkdir(parents=True)
    for name in PROGRAMS:
        program = os.path.realpath(str(shutil.which(name)))
        needs = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
        for path in (program, *(word for word in needs if word.startswith("/"))):
            target = root / f"usr/bin/{name}" if path == program else root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (root / "bin").symlink_to("usr/bin")
    (root / "bin/sh").symlink_to("bash")
    (root / "etc/os-release").write_text("ID=debian\n")
    (root / "etc/farmlet-image").write_text("analysis abc\n")
    (root / "etc/shadow").write_text("secret\n")
    (root / "etc/shadow").chmod(0o600)
    return root


class Kitchen:
    """A copy of the image, and a folder with a Dockerfile."""

    def __init__(self, place: Path, image: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dockerfile, "USER", USER)
        self.root, self.folder, self.script, self._tar = place / "root", place / "folder", script, place / "context.tar"
        shutil.copytree(image, self.root, symlinks=True)
        self.folder.mkdir()

    def build(self, *lines: str, base: str = "analysis") -> None:
        (self.folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        self._tar.write_bytes(bundle(self.folder))
        build(self.root, self._tar, base, "image hep", self.script)


@pytest.fixture
def kitchen(tmp_path: Path, image: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    before = set(Path("/var/tmp").glob("farmlet-image-*"))
    yield Kitchen(tmp_path, image, script, monkeypatch)
    assert set(Path("/var/tmp").glob("farmlet-image-*")) == before, "nothing of it stays"


def test_its_steps_are_done_on_the_image(kitchen: Kitchen) -> None:
    (kitchen.folder / "tool").write_text("#!/bin/sh\n")
    kitchen.build(
        "# syntax=any",
        "ARG GREETING=hi",
        "FROM analysis AS first",
        "RUN touch /opt/of-first",
        "FROM analysis",
        "ARG GREETING",
        'ENV GREET="$GREETING there" PATH=/opt/bin:$PATH',
        "COPY tool /usr/bin/tool",
        "COPY --from=first /opt/of-first /opt/",
        "RUN id; cat /etc/shadow; touch /opt/made; chown 5:7 /opt/made; chmod 4755 /opt/made; echo $GREET > /opt/greet",
    )
    root = kitchen.root
    assert (root / "etc/farmlet-image").read_text() == "analysis abc\n" and (root / "opt/of-first").exists()
    assert (root / "opt/greet").read_text() == "hi there\n" and (root / "usr/bin/tool").exists()
    made = (root / "opt/made").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (0, 0, 0o755), "it has no rights of its own"
    assert stat.S_IMODE((root / "etc/shadow").stat().st_mode) == 0o600
    text = (root / ".singularity.d/env/10-docker2singularity.sh").read_text()
    assert "export GREET='hi there'" in text and "export PATH=/opt/bin:/usr/local/sbin" in text
    assert not (root / "etc/pip.conf").exists() and not (root / "run/farmlet").exists()
    kitchen.build("FROM hep", "ENV GREET=anew", base="hep")
    text = (root / ".singularity.d/env/10-docker2singularity.sh").read_text()
    assert "export GREET=anew" in text and "export PATH=/opt/bin:/usr" in text
    assert json.loads((root / dockerfile.ENVIRONMENT).read_text())[0].startswith("PATH=/opt/bin:")


def test_a_step_that_fails_is_told_and_changes_nothing(kitchen: Kitchen) -> None:
    with pytest.raises(FarmletError) as error:
        kitchen.build("FROM analysis", "RUN touch /opt/x; echo bad luck >&2; exit 3")
    assert "image hep: its Dockerfile was not done" in str(error.value) and "bad luck" in str(error.value)
    assert 'building at STEP "RUN touch /opt/x' in str(error.value) and not (kitchen.root / "opt/x").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [("RUN mknod /opt/null c 1 3", "Operation not permitted"), ("RUN mount -t tmpfs none /tmp", "permission denied")],
    ids=["device", "mount"],
)
def test_root_inside_is_nobody_outside(kitchen: Kitchen, line: str, said: str) -> None:
    with pytest.raises(FarmletError, match=said):
        kitchen.build("FROM analysis", line)


def test_what_is_the_hosts_stays_so(kitchen: Kitchen, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    for line in (f"COPY --from=/ {secret} /opt/x", "COPY ../../secret /opt/x", "COPY --from=debian /etc/passwd /opt/x"):
        with pytest.raises(FarmletError, match="its Dockerfile was not done"):
            kitchen.build("FROM analysis", line)
    (kitchen.folder / "out").symlink_to(secret)
    with pytest.raises(FarmletError, match="'out' is a link to an absolute path"):
        kitchen.build("FROM analysis", "COPY out /opt/x")


def test_a_link_of_the_image_leads_nowhere_else(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    kitchen.build("FROM analysis", f"RUN ln -s {tmp_path} /.singularity.d")
    assert not list((tmp_path / "env").iterdir()) and not (kitchen.root / ".singularity.d").is_symlink()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM debian:13\n", "Dockerfile:1: begins with debian:13, which is not there; it can begin with `FROM analysis`"),
        ("FROM analysis\nADD https://x.example.org/a.tar /\n", "Dockerfile:2: fetches something; put it into the folder"),
        ("RUN true\n", "Dockerfile: has no FROM; it begins with `FROM analysis`"),
    ],
    ids=["registry", "address", "none"],
)
def test_what_would_be_fetched_is_told_with_its_line(text: str, fault: str) -> None:
    assert list(dockerfile.find_faults(text, "analysis")) == [fault]


def test_a_full_disk_is_told_and_room_is_given_back(kitchen: Kitchen, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, real = shutil.disk_usage(small).free, tempfile.TemporaryDirectory
    monkeypatch.setattr(dockerfile.tempfile, "TemporaryDirectory", lambda prefix, dir: real(prefix=prefix, dir=small))
    with pytest.raises(FarmletError, match="No space left on device"):
        kitchen.build("FROM analysis", "RUN cat /dev/zero > /opt/large")
    assert not (kitchen.root / "opt/large").exists() and (kitchen.root / "etc/farmlet-image").exists()
    assert not list(small.iterdir()) and free - shutil.disk_usage(small).free < 1 << 20
