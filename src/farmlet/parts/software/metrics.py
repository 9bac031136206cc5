"""What is counted of the unpacked area. Run by the node agent as root; standard library only."""

from __future__ import annotations

from pathlib import Path

from farmlet.parts import images
from farmlet.runtime.metrics import Sample


def count_unpacked(folder: str) -> list[Sample]:
    """Images by whether they are there and as wished for, their bytes, and when the last one was unpacked."""
    rows = images.load(Path(folder)).values()
    shown = [row for row in rows if row.offered]
    counts = {"shown": len(shown), "failed": sum(bool(row.error) for row in rows)}
    last = max((row.tested for row in shown), default=0.0)
    flats = {(Path(folder) / row.name).resolve(): row.size for row in shown}
    return [
        *(
            Sample("software_unpacked_images", count, {"state": state}, help="of registries; failed ones may be shown as before")
            for state, count in counts.items()
        ),
        Sample("software_unpacked_size", sum(flats.values()), unit="bytes", help="of disk that the shown images have"),
        Sample("software_unpacked_last_timestamp", last, unit="seconds", help="when an image was last unpacked, since 1970"),
    ]
