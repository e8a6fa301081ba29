#!/bin/sh
# net_ring: it returns what is sent to it, so frames from a tap pass mpfwd twice and leave by the same tap.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

[ -c /dev/net/tun ] || skipped "no /dev/net/tun for the frames to enter and leave"
start mpfwd 0 "$plain_memory" --vdev net_tap0,iface=left --vdev net_ring0 -- --promiscuous
up left
cross left left
stop mpfwd
passed "$came"
