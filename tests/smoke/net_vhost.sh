#!/bin/sh
# virtio-user and vhost: two mpfwds joined like a virtual machine and its host, each with a tap on its other side.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

[ -c /dev/net/tun ] || skipped "no /dev/net/tun for the frames to enter and leave"
free=$(awk '/^HugePages_Free:/ { pages = $2 } /^Hugepagesize:/ { kib = $2 } END { print int(pages * kib / 1024) }' /proc/meminfo)
[ "$free" -ge 256 ] || skipped "virtio-user shares its memory: 256 MiB in hugepages are needed, $free MiB are free"
start host 0 "$plain_memory" --vdev net_tap0,iface=left --vdev "net_vhost0,iface=$folder/vhost.sock,queues=1" -- --promiscuous
start guest 1 --single-file-segments --vdev net_tap0,iface=right --vdev "net_virtio_user0,path=$folder/vhost.sock,queues=1" -- --promiscuous
up left right
cross left right
stop guest host
passed "$came"
