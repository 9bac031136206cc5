#!/bin/sh
# Written by Farmlet. Where anybody may write: /tmp is memory and has an end, /var/tmp is for the node's own services.
set -e
case $(findmnt -no FSTYPE --mountpoint /tmp || true) in
  tmpfs) mount -o remount,size={{ size }} /tmp ;;
  '') mount -t tmpfs -o mode=1777,nosuid,nodev,size={{ size }} tmpfs /tmp ;; # else a file system of the admin's own
esac
chmod 1755 /var/tmp
