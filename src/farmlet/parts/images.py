"""The list of images that lies beside them, for whoever offers them: one file, written whole. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from farmlet.facility.places import IMAGES
from farmlet.runtime.files import write

FILE = "images.json"
IN_USE = "notebooks.images"  # the check of a node with notebooks whose evidence names the images that servers run in now


@dataclass(frozen=True)
class Row:
    """What is known of one image. `offered`: jobs and notebooks may have it, at `path`; `digest`: of its content, "" if it was
    never made; `size` in bytes; `tested`: when it last passed its test (seconds since 1970); `seconds`: how long it took to make.
    `python`, `debian`: what is in it, by name; `hub`: its version of JupyterHub. `error`: why the newest attempt failed; what was
    offered before stays so, unless its own test failed. `wanted`: what the attempt was for, so that nobody repeats it in vain.
    `note`: what is to be known of an image that is right.
    """

    name: str
    title: str = ""
    base: str = ""
    offered: bool = False
    digest: str = ""
    path: str = ""
    size: int = 0
    tested: float = 0.0
    seconds: float = 0.0
    hub: str = ""
    python: Mapping[str, str] = field(default_factory=dict)
    debian: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    wanted: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """What members choose."""
        return self.name

    @property
    def tag(self) -> str:
        """Docker's image for notebooks, as image.sh makes it."""
        return f"farmlet/{self.name}:{self.digest[:12]}"


NAMES = {one.name for one in fields(Row)}


def load(folder: Path = Path(IMAGES)) -> dict[str, Row]:
    """The rows by name, in the order of the file; none where there is no list yet. Raises ValueError if it cannot be read."""
    try:
        rows = json.loads((folder / FILE).read_text())["images"]
    except FileNotFoundError:
        return {}
    return {row["name"]: Row(**{name: value for name, value in row.items() if name in NAMES}) for row in rows}


def save(rows: Iterable[Row], folder: Path = Path(IMAGES)) -> None:
    write(folder / FILE, (json.dumps({"images": [asdict(row) for row in rows]}, indent=1) + "\n").encode())
