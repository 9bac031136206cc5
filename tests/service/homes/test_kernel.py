"""The same tests of rooms on ext4 and XFS with project quotas, which take a kernel that has them: Debian's, in a machine.

It is emulated, so nothing is asked of the processor or of this kernel; it starts in half a minute. Its whole system is one
archive in memory: an unpacked Debian with Python and the programs of the file systems, and this source tree.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
PACKAGES = "python3,python3-pytest,kmod,e2fsprogs,xfsprogs,mount,util-linux,coreutils,bash,passwd,base-passwd"
DISK = 1200 << 20  # bytes, sparse
# a root without CAP_SYS_RESOURCE is held to quotas as members are
INIT = """\
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/opt/src PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mkdir -p /ext4 /xfs; umask 022
for name in virtio_pci virtio_blk xfs quota_v2; do modprobe $name; done
mkfs.ext4 -q -F -O project,quota -E quotatype=prjquota /dev/vda && mount -o prjquota /dev/vda /ext4
mkfs.xfs -q -f /dev/vdb && mount -o prjquota /dev/vdb /xfs
export FARMLET_ROOMS=/ext4:/xfs
cd /opt/tests/service/homes
setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
  python3 -m pytest -q -p no:cacheprovider -k 'not btrfs and not told' test_rooms.py test_paths.py
echo "ended with $?"
echo o > /proc/sysrq-trigger; sleep 30
"""


def run(*words: object, folder: Path) -> str:
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def fetch_kernel(folder: Path) -> tuple[Path, str]:
    """Debian's kernel for virtual machines, unpacked, and its version."""
    run("apt-get", "-qq", "update", folder=folder)  # lists of before may name what the mirror has no more
    name = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", "linux-image-cloud-amd64", folder=folder))
    assert name
    folder.chmod(0o755)
    run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name[1], folder=folder)
    run("dpkg-deb", "-x", next(folder.glob("linux-image-*.deb")), "kernel", folder=folder)
    return folder / "kernel", name[1].removeprefix("linux-image-")


def build(folder: Path, kernel: Path, version: str) -> None:
    """The machine's system: `folder`/initrd."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        hooks,
        f"--include={PACKAGES}",
        release["VERSION_CODENAME"],
        "root",
        folder=folder,
    )
    root = folder / "root"
    shutil.copytree(kernel / "lib" / "modules" / version, root / "usr/lib/modules" / version, symlinks=True)
    run("chroot", root, "/sbin/depmod", version, folder=folder)
    shutil.copytree(ROOT / "src" / "farmlet", root / "opt/src/farmlet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/service/homes", root / "opt/tests/service/homes", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\ndaemon:x:1:\n")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    for heavy in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache", "boot"):
        shutil.rmtree(root / heavy, ignore_errors=True)
    with (folder / "initrd").open("wb") as archive:
        names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=archive, check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated machine is a PC")
def test_rooms_on_ext4_and_xfs_with_project_quotas(tmp_path: Path) -> None:
    kernel, version = fetch_kernel(tmp_path)
    build(tmp_path, kernel, version)
    drives = []
    for name in ("ext4", "xfs"):
        with (tmp_path / name).open("wb") as disk:
            os.ftruncate(disk.fileno(), DISK)
        drives += ["-drive", f"file={tmp_path / name},if=virtio,format=raw"]
    machine = ["qemu-system-x86_64", "-m", "2048", "-nographic", "-no-reboot", "-net", "none", *drives]
    boot = [
        "-kernel",
        kernel / f"boot/vmlinuz-{version}",
        "-initrd",
        tmp_path / "initrd",
        "-append",
        "console=ttyS0 quiet panic=-1",
    ]
    said = run(*machine, *boot, folder=tmp_path)
    passed = re.search(r"(\d+) passed", said)
    assert "ended with 0" in said and passed and int(passed[1]) >= 18, said[-4000:]
