"""What root installs on nodes is known by its hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import pins

LOCK = """
[[packages]]
name = "one"
version = "1.0"
sdist = { url = "https://x/one-1.0.tar.gz", hashes = { sha256 = "aa" } }
wheels = [
    { url = "https://x/one-1.0-cp313-cp313-manylinux_2_28_aarch64.whl", hashes = { sha256 = "dd" } },
    { url = "https://x/one-1.0-cp313-cp313-manylinux2014_x86_64.whl", hashes = { sha256 = "cc" } },
    { url = "https://x/one-1.0-cp313-cp313-win_amd64.whl", hashes = { sha256 = "bb" } },
    { url = "https://x/one-1.0-cp312-cp312-manylinux2014_x86_64.whl", hashes = { sha256 = "bb" } },
]

[[packages]]
name = "two"
version = "2.0"
sdist = { url = "https://x/two-2.0.tar.gz", hashes = { sha256 = "ee" } }

[[packages]]
name = "three"
version = "3.0"
marker = "sys_platform == 'win32'"
"""


def test_hashes_are_of_the_files_that_a_node_can_use() -> None:
    one, two = "one==1.0 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n", "two==2.0 \\\n    --hash=sha256:ee\n"
    assert pins.render("# why\n", LOCK) == f"# why\n{one}{two}"


@pytest.mark.parametrize("path", [pins.SERVICE, *pins.FILES], ids=lambda path: path.name)
def test_every_package_has_a_version_and_a_hash(path: Path) -> None:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    assert re.fullmatch(r"([a-z0-9-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n)+", text)


def test_the_service_has_the_versions_of_the_lock_file() -> None:
    assert pins.render(pins.read_head(pins.SERVICE), pins.run(*pins.EXPORT, *pins.FORMAT)) == pins.SERVICE.read_text()
