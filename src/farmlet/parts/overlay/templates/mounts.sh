#!/bin/bash
# Mounts CVMFS repositories for one drone by the client that its host has: each at HOME/mounts/REPOSITORY, with a cache of its own.
#
#   mounts.sh HOME REPOSITORY…
#
# Run in user, mount and PID namespaces of its own: client and mounts end with this program, whatever becomes of the drone.
set -u
umask 077
home=${1:?usage: mounts.sh HOME REPOSITORY…}
shift
mkdir -p "$home/cvmfs/sockets" "$home/mounts"

# What the host's own client knows of a repository, as that reads its files: a shell does, and later ones win.
ask() (
  set +u
  for file in /etc/cvmfs/default.conf /etc/cvmfs/default.d/*.conf /etc/cvmfs/default.local "/etc/cvmfs/domain.d/${2#*.}".{conf,local} \
    "/etc/cvmfs/config.d/$2".{conf,local}; do
    # shellcheck disable=SC1090
    if [ -r "$file" ]; then . "$file"; fi
  done > /dev/null 2>&1
  printf '%s' "${!1}"
)

key() {
  mkdir -p "$home/cvmfs/keys-$1"
  cat > "$home/cvmfs/keys-$1/$2.pub"
}
{% for domain, keys in keys.items() %}{% for text in keys %}
key {{ domain }} {{ loop.index }} <<'KEY'
{{ text }}KEY
{% endfor %}{% endfor %}

for repository; do
  case $repository in
{% for domain, servers in servers.items() %}
    *.{{ domain }} | {{ domain }}) servers='{{ servers }}' keys=$home/cvmfs/keys-{{ domain }} public='' ;;
{% endfor %}
    *) servers=$(ask CVMFS_SERVER_URL "$repository") keys=$(ask CVMFS_KEYS_DIR "$repository") public=$(ask CVMFS_PUBLIC_KEY "$repository") ;;
  esac
  proxies=$(ask CVMFS_HTTP_PROXY "$repository")
  if [ -z "$servers" ]; then
    echo "$repository: nobody says where its servers are"
    continue
  fi
  mkdir -p "$home/mounts/$repository" "$home/cvmfs/$repository"
  while IFS='=' read -r name value; do
    [ -z "$value" ] || printf '%s="%s"\n' "$name" "$value"
  done > "$home/cvmfs/$repository.conf" <<END
CVMFS_REPOSITORY_NAME=$repository
CVMFS_SERVER_URL=$servers
CVMFS_KEYS_DIR=${public:-${keys:-/etc/cvmfs/keys/${repository#*.}}}
CVMFS_HTTP_PROXY=${proxies:-{{ proxies }}}
CVMFS_CACHE_BASE=$home/cvmfs/$repository
CVMFS_RELOAD_SOCKETS=$home/cvmfs/sockets
CVMFS_SHARED_CACHE=no
CVMFS_QUOTA_LIMIT={{ quota }}
CVMFS_NFILES=$(ulimit -Hn)
CVMFS_USYSLOG=$home/cvmfs/$repository.log
END
  if [ -n "$public" ]; then sed -i 's/^CVMFS_KEYS_DIR=/CVMFS_PUBLIC_KEY=/' "$home/cvmfs/$repository.conf"; fi
  # it goes on by itself once it has mounted
  timeout -k 5 60 cvmfs2 -o "config=$home/cvmfs/$repository.conf" "$repository" "$home/mounts/$repository" 2>&1 ||
    tail -n 1 "$home/cvmfs/$repository.log" 2> /dev/null
done
touch "$home/cvmfs/ready"
exec sleep infinity
