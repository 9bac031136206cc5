#!/bin/sh
# Written by Farmlet: who has just logged in, for the node's agent to publish. The last ones are enough.
[ "${PAM_TYPE-}" = open_session ] || exit 0
umask 077
exec 9> {{ list }}.lock
flock -w 2 9 || exit 0
{
  tail -n 49 {{ list }} 2> /dev/null
  echo "$(date +%s) $PAM_USER"
} > {{ list }}.new
mv {{ list }}.new {{ list }}
