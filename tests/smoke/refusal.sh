#!/bin/sh
# Without a driver: an interface with an address or a default route gets no test traffic.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

pair plain other
ip addr add 192.0.2.1/24 dev other
if (claim other) >"$folder/claim"; then
    failed "an interface with an address was accepted"
fi
grep -q 'holds an address' "$folder/claim" || failed "said: $(cat "$folder/claim")"
ip addr del 192.0.2.1/24 dev other
(claim other) >"$folder/claim" || failed "an unused interface was refused: $(cat "$folder/claim")"
ip route add default dev other
if (claim other) >"$folder/claim"; then
    failed "an interface with a default route was accepted"
fi
grep -q 'default route' "$folder/claim" || failed "said: $(cat "$folder/claim")"
passed "interfaces that hold an address or a default route are refused"
