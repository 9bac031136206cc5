#!/bin/sh
# Written by farmlet: the network of notebooks. They reach what members reach from here, but not each other.
set -eu
docker network inspect {{ network }} >/dev/null 2>&1 ||
    docker network create --opt com.docker.network.bridge.name={{ bridge }} --opt com.docker.network.bridge.enable_icc=false \
        {{ network }} >/dev/null
rule() {
    table=$1 && shift
    iptables -t "$table" -C "$@" 2>/dev/null || iptables -t "$table" -I "$@"
}
# what clouds tell their machines is not for members; in a chain that Docker leaves alone, and that is there after a boot too
rule mangle PREROUTING -i {{ bridge }} -d 169.254.0.0/16 -j DROP
# a member's shell on this node reaches no notebook past the proxy
rule filter OUTPUT -o {{ bridge }} -m owner --uid-owner 1000-4294967294 -j REJECT
