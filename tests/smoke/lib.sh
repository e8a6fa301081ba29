#!/bin/sh
# Shared by the scripts of one path each: their own network namespace, mpfwd as a user starts it, and a check that nothing is left behind.
# A script sources this first, and ends with `passed`, or earlier with `skipped` or `failed`. Exit codes: 0 passed, 1 failed, 77 skipped.
# MPFWD=FILE tests another binary.
set -eu

path=$(basename "$0" .sh)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=mpfwd-smoke-$path-$$
huge=/dev/hugepages
# shellcheck disable=SC2034 # for the scripts
plain_memory='--no-huge -m 256 --no-shconf'

skipped() {
    echo "skipped: $*"
    exit 77
}

failed() {
    echo "failed: $*"
    exit 1
}

# Ends a good run, if it left nothing behind.
passed() {
    ours=$(stat -L -c %i /proc/$$/ns/net)
    # The shell expands the files before stat and awk exist.
    left=$(stat -L -c '%i %n' /proc/[0-9]*/ns/net 2>/dev/null |
        awk -v ours="$ours" -v me="/proc/$$/ns/net" '$1 == ours && $2 != me { split($2, part, "/"); print "process " part[3] }')
    # $(...) is a copy of this shell, and may be in the list.
    for process in $(echo "$left" | awk '{ print $2 }'); do
        [ ! -e "/proc/$process" ] || failed "process $process was left behind: $(tr '\0' ' ' <"/proc/$process/cmdline")"
    done
    # With --no-shconf EAL leaves an empty folder.
    rmdir /var/run/dpdk/"$prefix"* 2>/dev/null || :
    for file in "$huge/$prefix"* /var/run/dpdk/"$prefix"*; do
        [ ! -e "$file" ] || failed "$file was left behind"
    done
    echo "passed: $*"
    exit 0
}

# ---- Before anything is touched ----

[ "$(id -u)" -eq 0 ] || failed "network namespaces need root: use sudo"
mpfwd=${MPFWD:-${CARGO_TARGET_DIR:-$here/../../target}/release/mpfwd}
[ -x "$mpfwd" ] || failed "no $mpfwd: run cargo build --release, or set MPFWD=FILE"
for tool in ip python3 unshare; do
    command -v "$tool" >/dev/null || skipped "no $tool here (Debian: iproute2, python3, util-linux)"
done
if [ "${SMOKE_NAMESPACE:-}" != "$path" ]; then
    unshare --net true 2>/dev/null || skipped "no network namespaces here: $(unshare --net true 2>&1 || :)"
    # An unnamed namespace: it and its interfaces are gone with the last process inside, however that ends.
    SMOKE_NAMESPACE=$path exec unshare --net -- "$here/$path.sh" "$@"
fi

# Otherwise the kernel sends router solicitations into the paths.
sysctl=/proc/sys/net/ipv6/conf/default/disable_ipv6
[ ! -e "$sysctl" ] || echo 1 >"$sysctl"

folder=$(mktemp -d "/tmp/$prefix-XXXXXX")
trap tidy EXIT
trap 'exit 1' INT TERM HUP

# Also after a failure: kills what runs, removes what it would have removed, and then shows the logs.
tidy() {
    status=$?
    trap - EXIT
    for running in "$folder"/*.pid; do
        [ ! -e "$running" ] || kill -KILL "$(cat "$running")" 2>/dev/null || :
    done
    wait
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        tail -n 15 "$folder"/*.log 2>/dev/null || :
    fi
    rm -rf "$folder" "${huge:?}/$prefix"* /var/run/dpdk/"$prefix"*
    exit "$status"
}

# ---- Interfaces ----

# claim INTERFACE…: fails if an interface is in use, before it gets test traffic.
claim() {
    for interface in "$@"; do
        [ -z "$(ip -o -4 addr show dev "$interface")$(ip -o -6 addr show dev "$interface" scope global)" ] ||
            failed "$interface holds an address: test traffic is for unused interfaces"
        [ -z "$(ip -4 route show default dev "$interface")$(ip -6 route show default dev "$interface")" ] ||
            failed "$interface has a default route: test traffic is for unused interfaces"
    done
}

# pair A B: a veth pair.
pair() {
    ip link add "$1" type veth peer name "$2"
    up "$1" "$2"
}

up() {
    claim "$@"
    for interface in "$@"; do
        ip link set "$interface" up
    done
}

# ---- mpfwd ----

# The CPU of the first, second, … instance; instances share CPUs if there are fewer.
cpu() {
    python3 -c 'import os, sys; cpus = sorted(os.sched_getaffinity(0)); print(cpus[int(sys.argv[1]) % len(cpus)])' "$1"
}

# start NAME NTH MEMORY EAL-ARGUMENTS -- ARGUMENTS: starts mpfwd on the nth CPU, and returns once its ports are set up.
start() {
    who=$1
    where=$(cpu "$2")
    memory=$3
    shift 3
    : >"$folder/$who.log"
    # shellcheck disable=SC2086 # the memory's arguments are several words
    "$mpfwd" --lcores "0@$where" --no-pci --file-prefix "$prefix-$who" $memory "$@" --idle yield >"$folder/$who.log" 2>&1 &
    echo $! >"$folder/$who.pid"
    tries=0
    until grep -q '^  lcore ' "$folder/$who.log"; do
        if ! kill -0 "$(cat "$folder/$who.pid")" 2>/dev/null; then
            ! grep -q 'failed to parse device' "$folder/$who.log" ||
                skipped "this mpfwd has no such driver: $(grep -m 1 'failed to parse device' "$folder/$who.log")"
            failed "mpfwd does not start: $(grep '^mpfwd: ' "$folder/$who.log" | tail -n 1)"
        fi
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || failed "mpfwd has not set up its ports after 30 s"
        sleep 0.1
    done
}

# finish NAME…: waits for each to end. mpfwd exits with 0 only if every packet and every buffer is accounted for.
finish() {
    for who in "$@"; do
        status=0
        wait "$(cat "$folder/$who.pid")" || status=$?
        rm "$folder/$who.pid"
        [ "$status" -eq 0 ] || failed "mpfwd ended with exit code $status"
        grep -q '^conserved: ' "$folder/$who.log" || failed "mpfwd does not report conservation"
    done
}

# stop NAME…: ends them as a user does.
stop() {
    for who in "$@"; do
        kill -TERM "$(cat "$folder/$who.pid")"
    done
    finish "$@"
}

# ---- Traffic ----

# cross LEFT RIGHT [ARGUMENTS]: sends known frames both ways between two interfaces; prints a summary, or what was wrong.
cross() {
    python3 "$here/frames.py" cross "$@" >"$folder/cross" 2>&1 || failed "$(tail -n 1 "$folder/cross")"
    # shellcheck disable=SC2034 # for the scripts
    came=$(cat "$folder/cross")
}
