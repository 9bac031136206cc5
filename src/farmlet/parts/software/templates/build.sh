#!/bin/bash
# Builds an unpacked root file system of Debian with the analysis software and puts it in place in one rename.
#
#   build.sh TARGET        run by root on a Debian node that has mmdebstrap
#
# Package sources are the caller's own: apt's from the node's configuration, pip's (index, proxies, authorities) from the
# environment (PIP_INDEX_URL, PIP_CERT or SSL_CERT_FILE, ...). Nothing of either stays in the result.
set -euo pipefail
umask 022
target=${1:?usage: build.sh TARGET}
fresh=$target.new
old=$target.old
work=$(mktemp -d)
trap 'rm -rf "$work" "$fresh" "$old"' EXIT
mkdir -p "$(dirname "$target")"
rm -rf "$fresh" "$old"

cat > "$work/requirements.txt" <<'REQUIREMENTS'
@@requirements
REQUIREMENTS
cat > "$work/bearer.py" <<'BEARER'
@@bearer
BEARER

# The node's own mirrors, but of this suite only: a node may know a second suite that does not belong in the image.
# With a mirror of its own mmdebstrap keeps to it; without one (another suite on this host) it takes Debian's default.
sources=()
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  grep -E '^deb [^ ]+ @@suite(-updates|-security)? ' | sort -u > "$work/sources.list" || true
if grep -qE '^deb [^ ]+ @@suite ' "$work/sources.list"; then sources=("$work/sources.list"); fi
eval "$(apt-config shell proxy Acquire::http::Proxy)"

cat > "$work/python" <<'HOOK'
#!/bin/bash
# Called by mmdebstrap with the new root: pip runs inside it, so that wheels match its interpreter.
set -euo pipefail
root=$1
authorities=${PIP_CERT:-${SSL_CERT_FILE:-}}
options=()
if [ -n "$authorities" ]; then
  install -m 644 "$authorities" "$root/tmp/authorities.pem"
  options=(PIP_CERT=/tmp/authorities.pem SSL_CERT_FILE=/tmp/authorities.pem)
fi
install -m 644 "${0%/*}/requirements.txt" "${0%/*}/bearer.py" "$root/tmp/"
inside() { env -u SSL_CERT_DIR -u REQUESTS_CA_BUNDLE -u CURL_CA_BUNDLE HOME=/tmp "${options[@]}" chroot "$root" "$@"; }
# A throw-away environment holds pip; only the pinned packages land in the image's own Python, before Debian's of the same name.
inside python3 -m venv /tmp/pip
inside /tmp/pip/bin/python -m pip --python /usr/bin/python3 install --quiet --disable-pip-version-check --no-cache-dir \
  --no-deps --ignore-installed --only-binary=:all: --require-hashes --break-system-packages --root-user-action=ignore -r /tmp/requirements.txt
inside python3 /tmp/bearer.py --register
inside python3 -c 'import aiohttp, awkward, fsspec_xrootd, hist, iminuit, ipykernel, matplotlib.pyplot, uproot'
inside python3 -c 'import dask.distributed, jupyter_resource_usage, htcondor2, jupyterhub, jupyterlab, jupyterlab_git'
find "$root/usr/local/lib" -depth -type d -name tests -exec rm -rf {} +
# mount points of the nodes, and the files that Apptainer replaces by the node's own
mkdir -p "$root/cvmfs" "$root/srv"
rm -rf "$root/tmp/"* "$root/tmp/".[!.]* "$root/root/".cache "$root/var/cache/ldconfig" "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
HOOK
chmod 755 "$work/python"

mmdebstrap --quiet --variant=minbase --components=main --include=@@packages ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="$work/python" --format=directory @@suite "$fresh" "${sources[@]}"

rm -rf "$fresh/etc/hostname" "$fresh/etc/resolv.conf" "$fresh/etc/apt/sources.list" "$fresh"/etc/apt/sources.list.d/* \
  "$fresh"/var/lib/apt/lists/* "$fresh"/var/cache/apt/* "$fresh"/var/log/*
: > "$fresh/etc/resolv.conf"
: > "$fresh/etc/hosts"
printf '%s\n' '@@stamp' > "$fresh/etc/farmlet-image"
chmod 755 "$fresh"
if [ -e "$target" ]; then mv "$target" "$old"; fi
mv "$fresh" "$target"
