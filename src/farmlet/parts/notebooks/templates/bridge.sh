#!/bin/sh
# Written by farmlet: what the networks of servers lead to that systemd runs. They reach what members reach from here, but not
# each other.
set -eu
ip link show {{ bridge }} >/dev/null 2>&1 || ip link add {{ bridge }} type bridge
ip link set {{ bridge }} addrgenmode none up
ip address replace {{ gateway }}/{{ network.partition("/")[2] }} dev {{ bridge }}
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 1 > /proc/sys/net/ipv4/ip_forward
rule() {
    table=$1 && shift
    iptables -t "$table" -C "$@" 2>/dev/null || iptables -t "$table" -I "$@"
}
# what clouds tell their machines is not for members
rule mangle PREROUTING -i {{ bridge }} -d 169.254.0.0/16 -j DROP
# a member's shell on this node reaches no notebook past the proxy; nor does anybody from elsewhere (the last comes first)
rule filter OUTPUT -o {{ bridge }} -m owner --uid-owner 1000-4294967294 -j REJECT
rule filter FORWARD -i {{ bridge }} -j ACCEPT
rule filter FORWARD -o {{ bridge }} -j DROP
rule filter FORWARD -o {{ bridge }} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
# the relay of names is for servers only
rule filter INPUT ! -i {{ bridge }} -p udp -d {{ gateway }} --dport 53 -j DROP
rule nat POSTROUTING -s {{ network }} ! -o {{ bridge }} -j MASQUERADE
