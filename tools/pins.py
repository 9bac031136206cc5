"""`python -m tools.pins`: write what Farmlet installs on nodes anew, each package with the hashes of its files.

The versions are those that stand in the files, so a new one is written there first; the identity service's are those of the
lock file. Hashes are of the files that a Debian 13 node can use (glibc on x86-64 or ARM64, Python 3.13).
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "src/farmlet/parts"
SERVICE = PARTS / "requirements/service.txt"
FILES = (
    PARTS / "requirements/editor.txt",
    PARTS / "requirements/hub.txt",
    PARTS / "requirements/motley.txt",
    PARTS / "requirements/tardis.txt",
    PARTS / "software/templates/analysis.txt",
    ROOT / "src/farmlet/engine/images/installer.txt",
)
UV = (str(Path(sys.executable).with_name("uv")), "--quiet")
FORMAT = ("--format", "pylock.toml", "--no-header")
# what of the extras no node needs: it draws QR codes for members
EXPORT = ("export", "--frozen", "--no-dev", "--extra=identity", "--extra=service", "--no-emit-project", "--no-emit-package=segno")
COMPILE = ("pip", "compile", "--universal", "--python-version=3.13", "--no-deps", "--no-annotate")


def main() -> None:
    SERVICE.write_text(render(read_head(SERVICE), run(*EXPORT, *FORMAT)))
    for path in FILES:
        path.write_text(render(read_head(path), run(*COMPILE, *FORMAT, str(path))))


def render(head: str, lock: str) -> str:
    """pip's format of the packages of a `pylock.toml` (PEP 751) that a node needs, under the comment `head`."""
    packages = tomllib.loads(lock)["packages"]
    return head + "".join(_entry(package) for package in packages if "win32" not in package.get("marker", ""))


def _entry(package: Mapping[str, Any]) -> str:
    files = [one for one in package.get("wheels", ()) if _fits(Path(one["url"]).name)] or [package["sdist"]]
    hashes = sorted(one["hashes"]["sha256"] for one in files)
    return f"{package['name']}=={package['version']}" + "".join(f" \\\n    --hash=sha256:{one}" for one in hashes) + "\n"


def _fits(wheel: str) -> bool:
    return not parse_wheel_filename(wheel)[3].isdisjoint(TAGS)


def _tags() -> Iterator[Any]:
    # Debian 13 has glibc 2.41
    for machine in ("x86_64", "aarch64"):
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(41, 4, -1)]
        platforms += [f"manylinux{old}_{machine}" for old in ("2014", "2010", "1")] + [f"linux_{machine}"]
        yield from cpython_tags((3, 13), platforms=platforms)
        yield from compatible_tags((3, 13), "cp313", platforms)


TAGS = frozenset(_tags())


def read_head(path: Path) -> str:
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("#"))


def run(*words: str) -> str:
    return subprocess.run([*UV, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
