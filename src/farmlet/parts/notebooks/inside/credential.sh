#!/bin/sh
# condor_submit in a notebook runs it for jobs that need a credential.
[ -s "$BEARER_TOKEN_FILE" ] && exit 0
echo "You have no credential for jobs yet: farmlet-credential on the log-in node, once." >&2
exit 1
