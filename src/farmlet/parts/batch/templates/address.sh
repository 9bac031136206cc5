#!/bin/sh
# Written by farmlet, run by HTCondor for its settings: the address of the default route is the node's. By itself it may take that
# of a bridge of Docker, which nobody else reaches.
ip -4 -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/NETWORK_INTERFACE = \1/p'
