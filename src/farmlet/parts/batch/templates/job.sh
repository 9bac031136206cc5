#!/bin/sh
# Written by farmlet: begins each job of this node's own slots. As on drones, the job finds its token without a word of its
# own; in a container too, where it finds the authorities as well.
token="${_CONDOR_CREDS:-/nowhere}/{{ credential }}.use"
if [ -e "$token" ] && [ -z "${BEARER_TOKEN_FILE-}" ]; then
    export BEARER_TOKEN_FILE="$token" APPTAINERENV_BEARER_TOKEN_FILE="$token"
fi
{% if certificates %}
export APPTAINERENV_X509_CERT_DIR={{ certificates }} APPTAINERENV_SSL_CERT_FILE={{ certificates }}/bundle.pem
{% endif %}
# Apptainer would have a shell evaluate the job's environment
export APPTAINER_NO_EVAL=1
exec "$@"
