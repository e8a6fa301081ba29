#!/bin/sh
# Makes clients.pcap: requests of curl, openssl s_client and dig, recorded by
# tcpdump between two network namespaces. Needs root, and Debian's iproute2,
# tcpdump, curl, openssl, bind9-dnsutils and python3.
set -eu
cd "$(dirname "$0")"
folder=$(mktemp -d)
client=mpfwd-client-$$
server=mpfwd-server-$$
started=

clean() {
    for process in $started; do
        kill "$process" 2>/dev/null || :
    done
    ip netns del "$client" 2>/dev/null || :
    ip netns del "$server" 2>/dev/null || :
    rm -rf "$folder"
}
trap clean EXIT

ip netns add "$client"
ip netns add "$server"
ip -n "$client" link add one type veth peer name two netns "$server"
ip -n "$client" addr add 192.0.2.1/24 dev one
ip -n "$server" addr add 192.0.2.2/24 dev two
for name in "$client one" "$server two"; do
    # shellcheck disable=SC2086 # two words
    set -- $name
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
    ip netns exec "$1" ethtool -K "$2" tso off gso off gro off tx off rx off >/dev/null 2>&1 || :
done
# Small segments of the client: a ClientHello takes several.
ip -n "$server" route change 192.0.2.0/24 dev two advmss 200

on_server() {
    ip netns exec "$server" "$@" >/dev/null 2>&1 &
    started="$started $!"
}
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mpfwd -days 1 \
    -keyout "$folder/key" -out "$folder/certificate" 2>/dev/null
on_server openssl s_server -accept 443 -www -key "$folder/key" -cert "$folder/certificate"
on_server python3 -m http.server 80 --directory "$folder"
# Refuses every question: only the questions count.
cat >"$folder/dns.py" <<'PYTHON'
import socketserver, struct, threading

def refused(question):
    return question[:2] + b"\x81\x05" + question[4:6] + bytes(6) + question[12:]

class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(refused(self.request[0]), self.client_address)

class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        size = struct.unpack(">H", self.request.recv(2))[0]
        answer = refused(self.request.recv(size))
        self.request.sendall(struct.pack(">H", len(answer)) + answer)

for kind, handler in ((socketserver.UDPServer, Udp), (socketserver.TCPServer, Tcp)):
    threading.Thread(target=kind(("192.0.2.2", 53), handler).serve_forever).start()
PYTHON
on_server python3 "$folder/dns.py"
ip netns exec "$client" tcpdump -i one -U -w clients.pcap "ip" 2>/dev/null &
dump=$!
sleep 5

on_client() {
    ip netns exec "$client" timeout 10 "$@" >/dev/null 2>&1 </dev/null || :
}
to() {
    on_client curl -sk --resolve "$2:$3:192.0.2.2" "$1://$2:$3/"
}
ask() {
    on_client dig +tries=1 +noedns "$@"
}
for name in shop.blocked.example Shop.Fine.example; do
    to http "$name" 80
    to https "$name" 443
    on_client openssl s_client -connect 192.0.2.2:443 -servername "$name"
    ask @192.0.2.2 "$name"
    ask @192.0.2.2 +tcp "$name"
done
sleep 1
kill "$dump"
wait "$dump" || :
