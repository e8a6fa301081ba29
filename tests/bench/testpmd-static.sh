#!/bin/sh
# Builds the testpmd of the installed DPDK version against the system's own static archives: the peer that is linked the way
# mpfwd is. Sources come from the distribution's source package, through a private copy of apt's lists, so that the system's
# own lists stay as they are.
#
#     testpmd-static.sh FOLDER        leaves FOLDER/testpmd-VERSION and prints its path; what is there already is kept
set -eu

# Drivers are reached only through their constructors, so they are linked whole: what the benchmark and a look around need.
DRIVERS="bus_vdev bus_pci mempool_ring net_null net_ring net_tap net_pcap net_memif net_af_packet net_virtio"
NEEDED="gcc pkg-config dpkg-source apt-get xargs"

fail() {
    echo "testpmd-static: $1" >&2
    exit 1
}

[ $# = 1 ] || fail "usage: testpmd-static.sh FOLDER"
for tool in $NEEDED; do
    command -v "$tool" >/dev/null || fail "$tool is missing (Debian, Ubuntu: apt-get install build-essential pkg-config dpkg-dev)"
done
version=$(dpkg-query -W -f '${Version}' libdpdk-dev 2>/dev/null) || fail "libdpdk-dev is not installed as a package"
archives=$(pkg-config --variable=libdir libdpdk)
[ -e "$archives/librte_eal.a" ] || fail "libdpdk-dev $version has no static archives"

mkdir -p "$1"
folder=$(cd "$1" && pwd)
binary="$folder/testpmd-$version"
if [ -x "$binary" ]; then
    echo "$binary"
    exit
fi

work=$(mktemp -d "$folder/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"

# Every binary list of the system, as a source list.
mkdir lists sources objects
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ -e "$list" ] || continue
    name=$(basename "$list")
    case $name in
        *.sources) sed 's/^Types:.*/Types: deb-src/' "$list" >"sources/$name" ;;
        *) sed -n 's/^deb /deb-src /p' "$list" >"sources/$name" ;;
    esac
done
apt() {
    apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources" -o "Dir::State::lists=$work/lists" \
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root "$@" >&2
}
apt update || fail "apt-get update failed on the source lists"
source=$(dpkg-query -W -f '${source:Package}' libdpdk-dev)
apt source --download-only "$source=$version" || fail "the lists have no source package $source $version"
dpkg-source --extract "$source"_*.dsc tree >&2

# DPDK itself is built with -O3.
cflags="-O3 -w -DALLOW_EXPERIMENTAL_API $(pkg-config --cflags libdpdk)"
include="-I$work/tree/app/test-pmd -idirafter $work/tree/lib/eal/linux/include"
for net in mlx5 bonding; do
    include="$include -idirafter $work/tree/drivers/net/$net"
done
# testpmd.c calls one function of mlx5's part of it; the other drivers' parts are commands of their own.
# shellcheck disable=SC2016 # $1 and $2 are the inner shell's
printf '%s\n' tree/app/test-pmd/*.c tree/drivers/net/mlx5/mlx5_testpmd.c |
    xargs -P "$(nproc)" -n 1 sh -c 'echo "  $2" >&2; gcc $1 -c "$2" -o "objects/$(basename "$2" .c).o"' - "$cflags $include" ||
    fail "testpmd's sources did not compile"

# The way pkg-config asks for a static link, but whole only for the drivers above, and without what libraries of libraries
# would like to have (libsystemd, for libpcap's D-Bus).
whole="" rest=""
for driver in $DRIVERS; do
    whole="$whole -l:librte_$driver.a"
done
for word in $(pkg-config --static --libs libdpdk); do
    case $word in
        -l:librte_*) rest="$rest $word" ;;
        -l:* | -lrte_*) ;;
        -l*)
            for file in "lib${word#-l}.so" "lib${word#-l}.a"; do
                [ "$(gcc -print-file-name="$file")" = "$file" ] || { rest="$rest $word" && break; }
            done
            ;;
    esac
done
# shellcheck disable=SC2086 # lists of words
gcc -o testpmd objects/*.o -L"$archives" -Wl,--whole-archive $whole -Wl,--no-whole-archive -Wl,--as-needed -Wl,--start-group $rest \
    -Wl,--end-group || fail "testpmd did not link"
mv testpmd "$binary"
echo "$binary"
