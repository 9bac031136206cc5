#!/bin/sh
# Written by farmlet: begins each workflow, and becomes DAGMan once the guard has brought it into its owner's slice. Until then
# nothing of the owner's runs: a script that left its parents would stay outside.
is_in_slice() {
    while read -r line; do
        case $line in */user-[0-9]*.slice/*) return 0 ;; esac
    done < /proc/self/cgroup
    return 1
}
until is_in_slice; do
    LC_ALL=C LOCPATH= GCONV_PATH= /usr/bin/sleep 0.1
done
{% if tokens %}
# for its scripts; the one of the session it was begun in would be gone with that
BEARER_TOKEN_FILE="{{ tokens }}/$(/usr/bin/id -un)/token"
export BEARER_TOKEN_FILE
{% endif %}
exec /usr/bin/condor_dagman "$@"
