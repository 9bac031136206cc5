#!/bin/sh
# Written by farmlet: `open UID` when a member's first session or workflow begins, `close UID` some seconds after the last has ended.
# The token in between is kept fresh by the credential monitor, which finds the member's folder here.
set -eu
name=$(id -un "$2") && [ "$2" -ge {{ first_uid }} ] || exit 0
place={{ places }}/$name use={{ folder }}/$name/{{ service }}.use
case $1 in
open)
  mkdir -p -m 0755 {{ places }}
  mkdir -p -m 0755 "$place"
  if [ -s "$use" ]; then
    install -m 0400 -o "$2" -g "$(id -g "$2")" "$use" "$place/.token"
    mv -f "$place/.token" "$place/token"
  fi
  # why there is none, or soon will be none, before the greeting
  note=${use%.use}.refused
  [ ! -e "${use%.use}.top" ] || note=${use%.use}.waits
  [ ! -e "$note" ] || sed -n 's/^{"words": "\([^"]*\)".*/\1/p' "$note" > "$place/notice"
  ;;
close)
  rm -rf "$place"
  # HTCondor's mark: unless its member comes back or has jobs, the credential is removed some time after it
  [ ! -d {{ folder }}/"$name" ] || : > {{ folder }}/"$name".mark
  ;;
esac
