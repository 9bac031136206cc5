#!/bin/sh
# Keeps where Python packages come from, as `up` was told, for members' own images: settings and authorities, but no password.
set -eu
folder=/etc/farmlet/packages
mkdir -p "$folder"
{
  echo '[global]'
  for name in INDEX_URL EXTRA_INDEX_URL DEFAULT_TIMEOUT; do
    eval "value=\${PIP_$name:-}"
    case $value in
      '' | *@*) ;;
      *) printf '%s = %s\n' "$(echo "$name" | tr A-Z_ a-z-)" "$value" ;;
    esac
  done
  case ${HTTPS_PROXY:-} in
    '' | *@*) ;;
    *) printf 'proxy = %s\n' "$HTTPS_PROXY" ;;
  esac
} > "$folder/pip.conf"
if [ -n "${FARMLET_BUNDLE:-}" ]; then
  install -m 644 "$FARMLET_BUNDLE" "$folder/bundle.pem"
else
  rm -f "$folder/bundle.pem"
fi
