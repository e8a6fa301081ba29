#!/bin/sh
# net_pcap: from a capture to a capture, jumbo frames among them; then live on one end of each of two veth pairs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

python3 "$here/frames.py" write "$folder/sent.pcap" --longest 9000
python3 "$here/frames.py" write "$folder/none.pcap" --frames 0
start files 0 "$plain_memory" --vdev "net_pcap0,rx_pcap=$folder/sent.pcap,tx_pcap=$folder/back.pcap" \
    --vdev "net_pcap1,rx_pcap=$folder/none.pcap,tx_pcap=$folder/came.pcap" -- --max-pkt-len 9018 --packets 5000
finish files
files=$(python3 "$here/frames.py" same "$folder/sent.pcap" "$folder/came.pcap") || failed "from file to file: frames differ"

pair left left_dpdk
pair right right_dpdk
start live 0 "$plain_memory" --vdev net_pcap0,iface=left_dpdk --vdev net_pcap1,iface=right_dpdk -- --promiscuous
cross left right --frames 1000
stop live
passed "files: $files; live: $came"
