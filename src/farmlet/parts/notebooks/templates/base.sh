#!/bin/sh
# Written by farmlet: network and root of one server that systemd runs. base.sh make | remove NUMBER
set -eu
number=$2
network=farmlet-$number
folder={{ folder }}/$number
case $1 in
make)
    image=$(cat {{ state }}/servers/"$number")  # that was chosen
    # it is never written to: the places where systemd mounts what is the server's own are made in memory
    mkdir -p -m 755 "$folder" "$folder/upper" "$folder/work" "$folder/root"
    mount -t overlay -o "lowerdir=$image,upperdir=$folder/upper,workdir=$folder/work,nosuid,nodev" overlay "$folder/root"
    ip netns add "$network"
    ip link add "fn$number" type veth peer name eth0 netns "$network"
    # without addresses of IPv6, which would be link-local ones; and out of the others' reach on the bridge
    ip link set "fn$number" addrgenmode none master {{ bridge }} up
    bridge link set dev "fn$number" isolated on
    ip -n "$network" link set lo up
    ip -n "$network" link set eth0 addrgenmode none up
    ip -n "$network" address add "$(python3 -c 'import ipaddress, sys
network = ipaddress.ip_network(sys.argv[1])
print(f"{network[int(sys.argv[2])]}/{network.prefixlen}")' {{ network }} "$number")" dev eth0
    ip -n "$network" route add default via {{ gateway }}
    ;;
remove)
    ip netns delete "$network" 2>/dev/null || true
    umount --lazy "$folder/root" 2>/dev/null || true
    rm -rf --one-file-system "$folder"
    ;;
esac
