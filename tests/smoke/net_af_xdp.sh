#!/bin/sh
# net_af_xdp: an XDP socket on one end of each of two veth pairs; frames enter and leave by the other ends.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

python3 -c 'import socket; socket.socket(44, socket.SOCK_RAW)' 2>"$folder/socket.log" ||
    skipped "the kernel has no XDP sockets: $(tail -n 1 "$folder/socket.log")"
pair left left_dpdk
pair right right_dpdk
start mpfwd 0 "$plain_memory" --vdev net_af_xdp0,iface=left_dpdk --vdev net_af_xdp1,iface=right_dpdk -- --promiscuous
cross left right
stop mpfwd
passed "$came"
