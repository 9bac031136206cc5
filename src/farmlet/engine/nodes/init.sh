#!/bin/sh
# First process of a sandbox node: makes the container fit for systemd, then becomes it. A real host has nothing of this.
set -eu
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -A
chmod 0666 /dev/fuse /dev/net/tun 2>/dev/null || true    # what rootless containers need
mkdir -p /run/systemd/system                          # kernel settings are the host's own business
ln -sf /dev/null /run/systemd/system/systemd-sysctl.service
mount --make-rshared /                                # without it LoadCredential= silently gives nothing
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then     # v2
    mount -o remount,bind,rw /sys/fs/cgroup
    exec /lib/systemd/systemd "$@"
elif [ -d /sys/fs/cgroup/systemd ] || [ -d /sys/fs/cgroup/memory ]; then    # v1, hybrid or pure
    mount -o remount,bind,rw /sys/fs/cgroup
    for controller in /sys/fs/cgroup/*; do
        [ -L "$controller" ] || mount -o remount,bind,rw "$controller"
    done
    exec /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0 "$@"
fi
echo "farmlet: /sys/fs/cgroup is neither cgroup v1, hybrid nor v2; this node cannot start" >&2
exit 78
