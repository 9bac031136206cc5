#!/bin/bash
# What a Dockerfile makes of an unpacked root file system: WORK/out, and WORK/config.json with its variables.
#
#   dockerfile.sh ROOT WORK USER     run by root; WORK has Dockerfile and the folder context
#
# buildah runs as USER, who needs ids in /etc/subuid and /etc/subgid. In RUN apt and pip have the caller's sources.
set -euo pipefail
umask 022
root=${1:?usage: dockerfile.sh ROOT WORK USER} work=${2:?usage: dockerfile.sh ROOT WORK USER} user=${3:?usage: dockerfile.sh ROOT WORK USER}
given=$work/given
mkdir -p "$given" "$work/out" "$work/run"
suite=$(. "$root/etc/os-release"; echo "${VERSION_CODENAME:-}")
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  grep -E "^deb [^ ]+ $suite(-updates|-security)? " | sort -u > "$given/farmlet.list" || true
{
  apt-config dump | grep -E '::Proxy |^Acquire::Check-Valid-Until ' || true
  echo 'APT::Sandbox::User "root"; APT::Install-Recommends "false";'
} > "$given/apt.conf"
{
  printf '[global]\nbreak-system-packages = true\nno-cache-dir = true\ndisable-pip-version-check = true\nroot-user-action = ignore\n'
  for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT; do
    [ -z "${!name:-}" ] || { name_=${name#PIP_}; printf '%s = %s\n' "$(tr A-Z_ a-z- <<< "$name_")" "${!name}"; }
  done
  authorities=${PIP_CERT:-${SSL_CERT_FILE:-}}
  if [ -n "$authorities" ]; then
    install -m 644 "$authorities" "$given/bundle.pem"
    echo 'cert = /run/farmlet/bundle.pem'
  fi
} > "$given/pip.conf"
# images of the facility have none of their own
cat > "$given/pip" <<'PIP'
#!/bin/sh
[ -x /tmp/.farmlet-pip/bin/python ] || python3 -m venv /tmp/.farmlet-pip || exit
exec /tmp/.farmlet-pip/bin/python -m pip --python /usr/bin/python3 "$@"
PIP
chmod 755 "$given/pip"
tar -C "$root" --exclude='./dev/?*' -cf "$work/context/.farmlet-base.tar" .
chown -R "$user:" "$work"
options=() places=(pip.conf:etc/pip.conf apt.conf:etc/apt/apt.conf.d/99farmlet farmlet.list:etc/apt/sources.list.d/farmlet.list)
if [ ! -e "$root/usr/bin/pip" ] && [ ! -e "$root/usr/local/bin/pip" ]; then places+=(pip:usr/local/bin/pip); fi
for one in "${places[@]}"; do
  options+=(--volume "$given/${one%%:*}:/${one#*:}:ro")
done

clean=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work" TMPDIR="$work" XDG_RUNTIME_DIR="$work/run" LANG=C.UTF-8)
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || clean+=("$name=${!name}")
done
as=("${clean[@]}" setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --pdeathsig KILL prlimit --core=0 --)
store=(--storage-driver vfs --root "$work/store" --runroot "$work/run")
cd "$work"
"${as[@]}" buildah "${store[@]}" build --quiet --isolation chroot --network host --pull=never --layers=false --volume "$given:/run/farmlet:ro" \
  "${options[@]}" --file Dockerfile --tag image --output type=local,dest="$work/out" context > /dev/null
"${as[@]}" buildah "${store[@]}" inspect --type image image > "$work/config.json"
# places where something was mounted; a link of the image's leads no further than USER may go
for one in "${places[@]}"; do
  one=$work/out/${one#*:}
  if [ -f "$one" ] && [ ! -L "$one" ] && [ ! -s "$one" ]; then "${as[@]}" rm -f "$one"; fi
done
"${as[@]}" rm -rf "$work/out/tmp/.farmlet-pip"
"${as[@]}" rmdir "$work/out/run/farmlet" 2> /dev/null || true
"${as[@]}" buildah unshare rm -rf "$work/store"
