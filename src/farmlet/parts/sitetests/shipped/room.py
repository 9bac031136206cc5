# /// sitetest
# timeout = 60
# ///
"""The worker node has the cores, the memory and the disk that a drone asks for, and can write there."""

import os
import shutil
from pathlib import Path

MIB = 1024 * 1024


def test() -> str:
    # the job's own folder is where drones have theirs
    folder = Path(os.environ.get("_CONDOR_SCRATCH_DIR", "."))
    disk, wanted = shutil.disk_usage(str(folder)).free // MIB, int(os.environ["FARMLET_DISK"])
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    memory, asked = int(lines["MemTotal"].split()[0]) // 1024, int(os.environ["FARMLET_MEMORY"])
    cores, needed = os.cpu_count() or 1, int(os.environ["FARMLET_CORES"])
    numbers = f"disk={disk}MiB;;{wanted} memory={memory}MiB;;{asked} cores={cores};;{needed}"
    assert cores >= needed, f"the node has {cores} cores where a drone asks for {needed}|{numbers}"
    assert disk >= wanted, f"{disk} MiB of disk are free where a drone asks for {wanted}|{numbers}"
    assert memory >= asked, f"the node has {memory} MiB of memory where a drone asks for {asked}|{numbers}"
    probe = folder / "probe"
    try:
        with probe.open("wb") as stream:
            stream.write(os.urandom(MIB))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise AssertionError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        if probe.exists():
            probe.unlink()
    return f"{cores} cores, {disk} MiB of disk and {memory} MiB of memory|{numbers}"
