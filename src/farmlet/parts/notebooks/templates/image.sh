#!/bin/bash
# Written by farmlet: container images of the software that is kept below {{ folder }}. They hold all but /usr, which servers
# have mounted from there: nothing is there twice, and a new image is ready at once.
set -euo pipefail
[ -f {{ folder }}/images.json ] || { echo "nothing is published yet"; exit 0; }
# those too that were replaced a while ago, as long as they are kept: images of members begin with them
kept=$(cd {{ folder }}/.images && cat -- [a-z0-9]*-*/etc/farmlet-image)
tags=()
while read -r name digest; do
    [ -d "{{ folder }}/.images/$name-${digest:0:12}" ] || continue
    tag=farmlet/$name:${digest:0:12}
    tags+=("$tag")
    docker image inspect "$tag" >/dev/null 2>&1 ||
        tar -C "{{ folder }}/.images/$name-${digest:0:12}" --numeric-owner --sort=name --exclude="./usr/*" -c . |
        docker import --change "LABEL farmlet.digest=$digest" - "$tag" >/dev/null
done <<< "$kept"
{% if unpacked %}
# those of registries that have a server, whole, for what is where in them is anybody's choice; nothing of them is run or followed here
foreign=$(python3 -c 'import json, os, re, sys
area = os.path.realpath(sys.argv[1])
rows = json.load(open(area + "/images.json"))["images"] if os.path.exists(area + "/images.json") else []
for row in rows:
    root = os.path.realpath(os.path.join(area, row["name"]))
    if row["offered"] and row["hub"].split(".")[0] == sys.argv[2] and re.fullmatch(re.escape(area) + "/[.]flat/[0-9a-f]{2}/[0-9a-f]{64}", root):
        print(root)' {{ unpacked }} {{ hub }})
for root in $foreign; do
    digest=${root##*/}
    tag=farmlet/unpacked:${digest:0:12}
    tags+=("$tag")
    docker image inspect "$tag" >/dev/null 2>&1 ||
        tar -C "$root" --numeric-owner --sort=name -c . | docker import --change "LABEL farmlet.digest=$digest" - "$tag" >/dev/null
done
{% endif %}
# others go once nobody's notebook uses them
docker images --filter label=farmlet.digest --format {% raw %}'{{.Repository}}:{{.Tag}}'{% endraw %} 'farmlet/*' | grep -vxF "$(printf '%s\n' "${tags[@]}")" |
    xargs -r -n1 docker image rm >/dev/null 2>&1 || true
printf '%s\n' "${tags[@]}"
