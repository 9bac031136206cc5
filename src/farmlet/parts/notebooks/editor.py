"""VS Code for servers: code-server and a Node.js of its own, built once with the node's own image and mounted into every server.

It is beside the image, not in it: an image stays what jobs need, and all of them have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from farmlet.parts.render import render
from farmlet.parts.resources import Command, Directory, File, Packages, Resource

EDITOR = "/opt/farmlet/editor"
SCRIPT = "/usr/lib/farmlet/build-editor.sh"
VERSION = "4.139.1"
# sha512 of the package as npm keeps it
DIGEST = (
    "7d462f255773e19a1525f6a41a21965c532917c2b539bb2ba46bd7d7b6713692"
    "8ecdd347b3b940353ebbd094ebe19840f039d6ab2bef9851bf7771d5f58cba7b"
)


def install() -> Sequence[Resource]:
    stamp = hashlib.sha256(_render("").encode()).hexdigest()
    built = f'[ "$(cat {EDITOR}/stamp 2>/dev/null)" = {stamp} ]'
    return (
        # two small modules are compiled
        Packages(("g++", "make", "python3-venv")),
        Directory("/usr/lib/farmlet"),
        File(SCRIPT, _render(stamp), 0o755),
        Command("build VS Code", f"{SCRIPT} {EDITOR}", built, fills=EDITOR),
    )


def _render(stamp: str) -> str:
    node = (files("farmlet.parts") / "requirements" / "editor.txt").read_text().strip()
    defaults = (files(__package__) / "templates" / "editor.json").read_text().strip()
    words = {"node": node, "defaults": defaults, "version": VERSION, "digest": DIGEST, "stamp": stamp}
    return render("farmlet.parts.notebooks", "editor.sh", **words)
