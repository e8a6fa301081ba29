#!/bin/sh
# net_memif: two mpfwds joined by shared memory, each with a tap on its other side; frames pass both.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

[ -c /dev/net/tun ] || skipped "no /dev/net/tun for the frames to enter and leave"
memif=socket=$folder/memif.sock,socket-abstract=no
start server 0 "$plain_memory" --vdev net_tap0,iface=left --vdev "net_memif0,role=server,$memif" -- --promiscuous
start client 1 "$plain_memory" --vdev net_tap0,iface=right --vdev "net_memif0,role=client,$memif" -- --promiscuous
up left right
cross left right
stop client server
passed "$came"
