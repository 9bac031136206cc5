"""What takes a kernel that this one may not be: quotas on ext4 and XFS with project quotas, and homes served by NFS.

It is Debian's, in a machine.

It is emulated, so nothing is asked of the processor or of this kernel; it starts in half a minute. Its whole system is one
archive in memory: an unpacked Debian with Python and the programs of the file systems, and this source tree.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farmlet.facility.load import loads
from farmlet.parts.accounts.deploy import PART
from farmlet.parts.accounts.homes.files import EXPORTS
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import Command, File

# soak: emulation takes minutes of a core; the same tests run on this kernel's btrfs each time
pytestmark = [pytest.mark.service, pytest.mark.soak, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
PACKAGES = "python3,python3-pytest,kmod,e2fsprogs,xfsprogs,mount,util-linux,coreutils,bash,passwd,base-passwd"
SERVING = "nfs-kernel-server,nfs-common,iproute2"
DISK = 1200 << 20  # bytes, sparse
FACILITY = """\
farmlet: 1
facility: {name: lab, title: A file server, domain: farmlet.test}
nodes:
  head: {connect: ssh, address: head.farmlet.test, runs: [access]}
  files: {connect: ssh, address: files.farmlet.test, runs: [accounts.files]}
  service: {connect: ssh, address: service.farmlet.test, runs: [identity, accounts]}
groups:
  lab: {login: true}
accounts: {homes: /homes, scratch: /scratch}
"""
# a root without CAP_SYS_RESOURCE is held to quotas as members are
INIT = """\
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/opt/src PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mkdir -p /ext4 /xfs; umask 022
for name in virtio_pci virtio_blk xfs quota_v2; do modprobe $name; done
mkfs.ext4 -q -F -O project,quota -E quotatype=usrquota:prjquota /dev/vda && mount -o prjquota /dev/vda /ext4
mkfs.xfs -q -f /dev/vdb && mount -o prjquota /dev/vdb /xfs
export FARMLET_ROOMS=/ext4:/xfs
cd /opt/tests/service/homes
setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
  python3 -m pytest -q -p no:cacheprovider -k 'not btrfs and not told' test_quotas.py test_paths.py test_evasion.py
echo "quotas ended with $?"
umount /ext4 && mount -o usrquota,prjquota /dev/vda /ext4; umount /xfs && mount -o usrquota,prjquota /dev/vdb /xfs
FARMLET_OWNERS=1 python3 -m pytest -q -p no:cacheprovider -k 'not btrfs' test_evasion.py
echo "owners ended with $?"
umount /ext4 && mount -o prjquota /dev/vda /ext4
mkdir -p /mnt /run/rpc_pipefs /head/homes /head/scratch /homes /scratch /ext4/homes /ext4/plain
mount --bind /ext4/homes /homes; umount /xfs && mount -o prjquota /dev/vdb /scratch; chmod 755 /ext4/plain /homes /scratch
for name in nfsd nfsv4 veth; do modprobe $name; done
mount -t nfsd nfsd /proc/fs/nfsd; ip link set lo up
ip netns add stranger; ip link add near type veth peer far netns stranger
ip address add 10.9.0.1/24 dev near; ip link set near up
ip netns exec stranger ip address add 10.9.0.2/24 dev far; ip netns exec stranger ip link set far up
# so long a server that was just started lets nobody write
for name in lease grace; do echo 10 > /proc/fs/nfsd/nfsv4${name}time; done
rpc.mountd; rpc.nfsd 4; exportfs -ra
mount /head/homes; mount /head/scratch
python3 -m pytest -q -p no:cacheprovider mounted.py
echo "mounts ended with $?"
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
        f"--include={PACKAGES},{SERVING}",
        release["VERSION_CODENAME"],
        "root",
        folder=folder,
    )
    root = folder / "root"
    shutil.copytree(kernel / "lib" / "modules" / version, root / "usr/lib/modules" / version, symlinks=True)
    run("chroot", root, "/sbin/depmod", version, folder=folder)
    shutil.copytree(ROOT / "src" / "farmlet", root / "opt/src/farmlet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/service/homes", root / "opt/tests/service/homes", ignore=shutil.ignore_patterns("__pycache__"))
    members = {"root": 0, "daemon": 1, "statd": 100, "ada": 20001, "bob": 20002}
    (root / "etc/passwd").write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in members.items()))
    groups = "".join(f"many{number}:x:{number}:ada\n" for number in range(30001, 30021))
    (root / "etc/group").write_text("".join(f"{name}:x:{gid}:\n" for name, gid in members.items()) + groups)
    (root / "etc/hosts").write_text("127.0.0.1 head.farmlet.test\n127.0.0.3 files.farmlet.test\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    serve(root)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    for heavy in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache", "boot"):
        shutil.rmtree(root / heavy, ignore_errors=True)
    with (folder / "initrd").open("wb") as archive:
        names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=archive, check=True)


def serve(root: Path) -> None:
    """What `up` writes for a file server; and the mounts of a log-in node, for want of systemd as lines of fstab."""
    facility = loads(FACILITY, "facility.yaml", find())
    server, client = (Context(facility, facility.nodes[node], Trust("CA"), "0" * 64) for node in ("files", "head"))
    for item in PART.role("files").configure(server):
        if isinstance(item, File) and item.path.endswith((".conf", ".exports")):
            (root / item.path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / item.path[1:]).write_text(str(item.content))
    exports = (root / EXPORTS[1:]).read_text()
    (root / EXPORTS[1:]).with_name("plain.exports").write_text(exports.replace("/homes ", "/ext4/plain "))
    asked = [item for item in PART.role("files").configure(server) if isinstance(item, Command) and "of its own" in item.name]
    (root / "opt/own.json").write_text(json.dumps([item.unless for item in asked]))
    units = [str(item.content) for item in PART.role("homes").configure(client) if item.label.endswith(".mount")]
    found = [dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in units]
    lines = [f"{one['What']} /head/{Path(one['Where']).name} {one['Type']} {one['Options']} 0 0\n" for one in found]
    (root / "etc/fstab").write_text("".join(lines))
    (root / "etc/exports").touch()  # these two the package's scripts make, which were not run
    shutil.copy(root / "usr/share/nfs-common/conffiles/nfs.conf", root / "etc/nfs.conf")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated machine is a PC")
def test_quotas_with_project_quotas_and_homes_by_nfs(tmp_path: Path) -> None:
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
    assert all(f"{what} ended with 0" in said for what in ("quotas", "owners", "mounts")), said[-9000:]
    quotas, owners, mounts = map(int, re.findall(r"(\d+) passed", said))
    assert quotas >= 20 and owners >= 6 and mounts >= 13
