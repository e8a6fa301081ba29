#!/bin/sh
# net_tap: two interfaces that mpfwd makes; frames enter and leave by their kernel side.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

[ -c /dev/net/tun ] || skipped "no /dev/net/tun"
start mpfwd 0 "$plain_memory" --vdev net_tap0,iface=left --vdev net_tap1,iface=right -- --promiscuous
up left right
cross left right
stop mpfwd
passed "$came"
