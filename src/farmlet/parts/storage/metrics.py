"""What is counted of a storage element. Run by the node agent; standard library only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from farmlet.runtime.metrics import Sample


def measure(root: str, counts: str) -> list[Sample]:
    """The file system below `root` as it is now, and of the last count (JSON, see `usage`) what each group may write.

    Of single members nothing: everyone on the node may read it.
    """
    disk = shutil.disk_usage(root)
    found = [
        Sample("storage_size", disk.total, unit="bytes", help="file system of the storage element"),
        Sample("storage_free", disk.free, unit="bytes", help="what is left of it"),
    ]
    path = Path(counts)
    if not path.exists():  # the first count is made within a day
        return found
    count = json.loads(path.read_text())
    found.append(Sample("storage_counted_timestamp", count["at"], unit="seconds", help="when it was counted, since 1970"))
    found += [
        Sample("storage_used", row["bytes"], {"group": row["group"]}, "bytes", help="files where the group may write")
        for row in count["groups"]
    ]
    return found
