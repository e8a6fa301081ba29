#!/bin/sh
# net_af_packet: a packet socket on one end of each of two veth pairs; frames enter and leave by the other ends.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

pair left left_dpdk
pair right right_dpdk
start mpfwd 0 "$plain_memory" --vdev net_af_packet0,iface=left_dpdk --vdev net_af_packet1,iface=right_dpdk -- --promiscuous
cross left right
stop mpfwd
passed "$came"
