"""What sshd refuses is not put in force: the real sshd, and the settings as part access writes them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from door import SSHD, make_key

from farmlet.parts.access import sshd
from farmlet.parts.render import render
from farmlet.parts.resources import Command, File

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(SSHD is None or os.getuid() != 0, reason="wants sshd, and root for the files' owner"),
]


def write(folder: Path, *admins: str) -> str:
    """sshd's settings for these administrators, without what sshd before Debian 13 does not know."""
    values = {"authority": f"{folder}/ca.pub", "principals": "/bin/true", "groups": ["lab"], "tokens": True}
    text = render("farmlet.parts.access", "sshd.conf", host_key=folder / "host", admins=admins, **values)
    return re.sub(r"^PerSourcePenalt.*\n", "", text, flags=re.M)


def run(script: str) -> subprocess.CompletedProcess[str]:
    """As the engine runs a step; /run is one of its own."""
    script = f"mount -t tmpfs none /run && {{\n{script}\n}}"
    return subprocess.run(["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True, timeout=30)


def force(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file, step = sshd.put_in_force(text, str(folder / "wanted"), str(folder / "settings"))
    assert isinstance(file, File) and isinstance(step, Command)
    Path(file.path).write_bytes(file.data)
    assert run(step.unless).returncode
    done = run(step.run)
    assert (run(step.unless).returncode == 0) is (done.returncode == 0)
    return done


def test_settings_that_sshd_refuses_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    make_key(tmp_path / "host")
    sound = write(tmp_path, "operator1", "root")
    assert force(tmp_path, sound).returncode == 0
    done = force(tmp_path, write(tmp_path, "jane doe", "root"))
    assert done.returncode and "Match" in done.stderr, "and sshd's words are told"
    assert (tmp_path / "settings").read_text() == sound
    assert {path.name for path in tmp_path.iterdir()} == {"host", "host.pub", "settings", "wanted"}


def test_settings_that_were_changed_by_hand_are_put_back(tmp_path: Path) -> None:
    make_key(tmp_path / "host")
    sound = write(tmp_path, "root")
    assert force(tmp_path, sound).returncode == 0
    (tmp_path / "settings").chmod(0o666)
    assert force(tmp_path, sound).returncode == 0
    (tmp_path / "settings").write_text("nonsense\n")  # which must not keep the sound ones out
    assert force(tmp_path, sound).returncode == 0
    assert (tmp_path / "settings").read_text() == sound and (tmp_path / "settings").stat().st_mode & 0o777 == 0o644
