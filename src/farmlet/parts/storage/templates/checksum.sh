#!/bin/sh
# Written by farmlet; called by XRootD as `checksum ALGORITHM PATH …`, prints the checksum in hex.
#
# XRootD 5.8 computes checksums itself, but over HTTP that kills it: where the result is there before the thread that
# promised it has come back (small files), both use the connection, and the server dies. Hence a moment's pause.
set -eu
sleep 0.1
file={{ data }}$2
# the tools keep what they found with the file, and believe it while its time is the same second: so not while it is new
new=$(( $(date +%s) - $(stat -c %Y "$file") < 3 ))
case $1$new in
adler320) told=$(xrdadler32 "$file") ;;
crc32c0) told=$(xrdcrc32c "$file") ;;
adler321) told=$(xrdadler32 < "$file") ;;
crc32c1) told=$(xrdcrc32c - < "$file") ;;
md5*) told=$(md5sum < "$file") ;;
*) exit 1 ;;
esac
# the first word: the tools tell the file's name too
echo "${told%% *}"
