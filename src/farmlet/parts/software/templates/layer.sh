#!/bin/bash
# Adds Debian packages and Python wheels to an unpacked root file system.
#
#   layer.sh ROOT WORK     run by root; WORK/packages and WORK/requirements.txt name them, WORK becomes /tmp inside
#
# Sources are the caller's own: apt's from the node's configuration, pip's from the environment. Nothing of either stays.
set -euo pipefail
umask 022
root=${1:?usage: layer.sh ROOT WORK} work=${2:?usage: layer.sh ROOT WORK}
[ -f "$root/etc/farmlet-image" ] || { echo "$root is no image" >&2; exit 1; } # and so never the node itself
suite=$(. "$root/etc/os-release"; echo "$VERSION_CODENAME")
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  grep -E "^deb [^ ]+ $suite(-updates|-security)? " | sort -u > "$work/sources.list" || true
apt-config dump | grep -E '::Proxy |^Acquire::Check-Valid-Until ' > "$work/apt.conf" || true
authorities=${PIP_CERT:-${SSL_CERT_FILE:-}}
options=()
if [ -n "$authorities" ]; then
  install -m 644 "$authorities" "$work/authorities.pem"
  options=(PIP_CERT=/tmp/authorities.pem SSL_CERT_FILE=/tmp/authorities.pem)
fi
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || options+=("$name=${!name}")
done

cat > "$work/inside.sh" <<'INSIDE'
set -euo pipefail
if [ -s /tmp/packages ]; then
  # all that apt keeps is in /tmp, and goes with it
  cat >> /tmp/apt.conf <<'APT'
Dir::Etc::SourceList "/tmp/sources.list"; Dir::Etc::SourceParts "/dev/null"; Dir::State::Lists "/tmp/lists"; Dir::Cache "/tmp/cache";
APT::Sandbox::User "root"; Dir::Log "/tmp/log"; APT::Install-Recommends "false"; Dpkg::Use-Pty "false";
DPkg::Options { "--path-exclude=/usr/share/man/*"; "--path-exclude=/usr/share/locale/*"; };
APT
  mkdir -p /tmp/lists/partial /tmp/cache/archives/partial /tmp/log
  export APT_CONFIG=/tmp/apt.conf DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  xargs -a /tmp/packages apt-get -qq -y install --
fi
if [ -s /tmp/requirements.txt ]; then
  python3 -m venv /tmp/pip
  /tmp/pip/bin/python -m pip --python /usr/bin/python3 install --quiet --disable-pip-version-check --no-cache-dir \
    --only-binary=:all: --break-system-packages --root-user-action=ignore -r /tmp/requirements.txt
fi
INSIDE

# services that packages bring are not started; and it sees the processes, names and addresses that it needs, for this time only
printf '#!/bin/sh\nexit 101\n' > "$work/policy-rc.d"
chmod 755 "$work/policy-rc.d"
touch "$root/usr/sbin/policy-rc.d"
trap 'rm -f "$root/usr/sbin/policy-rc.d"' EXIT
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 "${options[@]}" \
  unshare --mount --pid --fork --kill-child bash -ec '
    mount --bind "$2" "$1/tmp"; mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"
    mount --bind "$2/policy-rc.d" "$1/usr/sbin/policy-rc.d"
    for name in resolv.conf hosts; do mount --bind "/etc/$name" "$1/etc/$name"; done
    exec chroot "$1" bash /tmp/inside.sh' layer "$root" "$work" < /dev/null
rm -rf "$root"/var/log/* "$root"/var/cache/ldconfig "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
