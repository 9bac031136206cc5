"""Starts a member's server, in its container and as them: `start.py COMMAND WORD...`. The image's Python; standard library only.

With a full home nothing of the server's own is written there, so that it starts and the member can tidy up; JupyterLab says so,
by a word of its page's configuration that `notice.js` reads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOM = 1 << 20  # bytes that a server writes without being asked: settings, histories
SECONDS = 5  # for a look at what is largest; who has millions of files is told without
MOST = 5
# what a server, its kernels and JupyterLab would write below the home
PLACES = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
    "FARMLET_EDITOR_DIR",
)
OWN = Path("/opt/own")
OFF_HOME = Path("/tmp/farmlet")
# jsonschema asks for it to check IRIs, which nothing of Jupyter's has, and it works out a grammar at each import. Of the server
# alone: what a member runs has it. Nothing is imported from the folder that the server begins in, which is the home.
WITHOUT = """\
import sys
del sys.path[0], sys.argv[0]
sys.modules["rfc3987_syntax"] = None
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def has_room(home: Path) -> bool:
    """Whether the home takes what a server writes: quotas show in no other way."""
    try:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".farmlet-") as probe:
            probe.write(bytes(ROOM))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError:
        return False
    return True


def find_largest(home: Path) -> list[str]:
    """The largest folders and files of the home, largest first, as `12.5 MiB NAME`."""
    words = ["du", "--one-file-system", "--block-size=1", "--all", "--max-depth=1", "--null", str(home)]
    try:
        said = subprocess.run(words, capture_output=True, timeout=SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.partition(b"\t") for line in said.split(b"\0") if line]
    sizes = sorted(((int(size), os.fsdecode(path)) for size, _, path in rows if os.fsdecode(path) != str(home)), reverse=True)
    return [f"{size / 2**20:.1f} MiB {Path(path).name}" for size, path in sizes[:MOST] if size]


def keep_off(home: Path, place: Path, environment: dict[str, str]) -> None:
    """Have everything of the server's own below `place`, and JupyterLab say why. The member's kernels and settings count."""
    largest = find_largest(home)
    told = f" Largest in it: {'; '.join(largest)}." if largest else ""
    said = (
        f"Your home is full. This server keeps its own files off it until you have deleted something and started anew.{told} "
        "What you save does not get there now."
    )
    folder = place / "config" / "labconfig"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "page_config.json").write_text(json.dumps({"farmletNotice": said}))
    for name in PLACES:
        environment[name] = str(place / name.lower())
    paths = {"JUPYTER_CONFIG_PATH": (place / "config", home / ".jupyter"), "JUPYTER_PATH": (home / ".local/share/jupyter",)}
    for name, more in paths.items():
        environment[name] = os.pathsep.join(filter(None, [*map(str, more), environment.get(name, "")]))
    print(f"farmlet: {said}", file=sys.stderr)


def put_own(place: Path, environment: dict[str, str]) -> None:
    """Show a member's own packages at `place`, and have every Python and shell find them as those of jobs do: before the image's
    packages, and after its programs."""
    for path in Path(environment["FARMLET_OWN"]).iterdir():
        (place / path.name).symlink_to(path)
    python = place / ".python"  # what an image of the member's has among its packages (`own.pth`) is in none of their folders
    python.mkdir()
    (python / "sitecustomize.py").write_text((place / "first.pth").read_text())
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(python), environment.get("PYTHONPATH")]))
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}{os.pathsep}{place}/bin"


def hasten(words: list[str], environment: dict[str, str]) -> list[str]:
    """The same program without a module that takes a third of its start. A program for another Python stays as it is."""
    path = shutil.which(words[0], path=environment.get("PATH"))
    if path is None:
        return words
    with Path(path).open("rb") as script:
        first, _, python = script.readline(200).strip().partition(b"#!")
    if first or b" " in python or Path(os.fsdecode(python)).parent != Path(sys.executable).parent:
        return words
    return [sys.executable, "-c", WITHOUT, path, *words[1:]]


def main(words: list[str]) -> None:
    home, environment = Path.home(), dict(os.environ)
    if environment.get("FARMLET_OWN"):
        put_own(OWN, environment)
    if not has_room(home):
        keep_off(home, OFF_HOME, environment)
    words = hasten(words, environment)
    os.execvpe(words[0], words, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
