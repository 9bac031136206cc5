"""The recipe of the software image: complete, pinned, free of anything of the machine that renders it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from farmlet.parts.software.image import analysis, bearer, built, render


def test_script_is_valid_and_complete() -> None:
    script = render(analysis())
    assert "@@" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for package in ("numpy", "uproot", "awkward", "hist", "iminuit", "matplotlib"):
        assert re.search(rf"^{package}==\d", script, re.MULTILINE)


def test_no_mirror_and_no_key_in_the_script() -> None:
    script = render(analysis()).replace(bearer().strip(), "")  # which speaks of https
    assert not re.search(r"https?://|BEGIN |index-url *=", script)


def test_stamp_follows_the_contents(tmp_path: Path) -> None:
    image = analysis()
    (tmp_path / "etc").mkdir()
    test = built(image, str(tmp_path))
    assert subprocess.run(["sh", "-c", test]).returncode != 0
    (tmp_path / "etc" / "farmlet-image").write_text(f"{image.stamp}\n")
    assert subprocess.run(["sh", "-c", test]).returncode == 0
    other = replace(image, requirements=image.requirements.replace("numpy==2", "numpy==3"))
    assert subprocess.run(["sh", "-c", built(other, str(tmp_path))]).returncode != 0
