# /// sitetest
# timeout = 60
# ///
"""The worker node has the cores, the memory and the disk that a drone asks for, and can write there. Cores and memory are what
the batch system offers of the machine, which may be less than there is; the machine's own where that does not say."""

import os
import re
import shutil
from pathlib import Path

MIB = 1024 * 1024


def find_offer(name: str, default: int) -> int:
    """What HTCondor offers of Cpus or Memory (MiB) at this machine: the whole where slots are cut to size, else this slot's."""
    try:
        told = Path(os.environ["_CONDOR_MACHINE_AD"]).read_text(errors="replace")
    except (KeyError, OSError):
        return default
    whole = "Total" if re.search(r"^DynamicSlot *= *true$", told, re.MULTILINE | re.IGNORECASE) else ""
    found = re.search(rf"^{whole}{name} *= *(\d+)", told, re.MULTILINE | re.IGNORECASE)
    return int(found.group(1)) if found else default


def test() -> str:
    # the job's own folder is where drones have theirs
    folder = Path(os.environ.get("_CONDOR_SCRATCH_DIR", "."))
    disk, wanted = shutil.disk_usage(str(folder)).free // MIB, int(os.environ["FARMLET_DISK"])
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    memory, asked = find_offer("Memory", int(lines["MemTotal"].split()[0]) // 1024), int(os.environ["FARMLET_MEMORY"])
    cores, needed = find_offer("Cpus", os.cpu_count() or 1), int(os.environ["FARMLET_CORES"])
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
