#!/bin/bash
# Written by farmlet: a container image of the software that is published at {{ image }}, byte for byte what jobs have.
set -euo pipefail
stamp={{ image }}/etc/farmlet-image
[ -f "$stamp" ] || { echo "nothing is published yet"; exit 0; }
read -r name digest < "$stamp"
tag=farmlet/$name:${digest:0:12}
if ! docker image inspect "$tag" >/dev/null 2>&1; then
    fresh=$(tar -C {{ image }} --numeric-owner --sort=name -c . | docker import --change "LABEL farmlet.digest=$digest" -)
    read -r _ now < "$stamp"
    if [ "$now" != "$digest" ]; then
        docker image rm "$fresh" >/dev/null
        echo "another one was published meanwhile"
        exit 75
    fi
    docker tag "$fresh" "$tag"
fi
# older ones go once nobody's notebook uses them
docker images --format {% raw %}'{{.Repository}}:{{.Tag}}'{% endraw %} "farmlet/$name" | grep -vxF "$tag" | xargs -r -n1 docker image rm >/dev/null 2>&1 || true
echo "$tag"
