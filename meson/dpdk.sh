#!/bin/sh
# Builds a static DPDK for mpfwd, for this CPU, with DPDK's own optimisation and
# only the drivers below. The distribution's archives are for any CPU and less
# optimised, which costs a forwarder a tenth or more.
#
#     dpdk.sh PREFIX [--source TARBALL --sha256 SUM] [--drivers LIST]
#
# Without a tarball the source is the source package of the installed version.
# Installs to PREFIX/dpdk-VERSION, with testpmd, and prints the folder for
# PKG_CONFIG_PATH. Does nothing if the same recipe has been installed already:
# this script, its arguments, and the patches beside it, which fix what mpfwd
# can't work around.
set -eu

# Virtual devices, common NICs, and the ports of virtual machines.
drivers=bus/auxiliary,bus/pci,bus/vdev,common/iavf,mempool/ring,mempool/stack
drivers=$drivers,net/af_packet,net/af_xdp,net/bonding,net/e1000,net/ena,net/i40e,net/iavf,net/ice
drivers=$drivers,net/igc,net/ixgbe,net/memif,net/null,net/pcap,net/ring,net/tap,net/vhost
drivers=$drivers,net/virtio,net/vmxnet3

fail() {
    echo "dpdk: $*" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
usage="dpdk.sh PREFIX [--source TARBALL --sha256 SUM] [--drivers LIST]"
[ $# -ge 1 ] || fail "usage: $usage"
prefix=$1
shift
# Two lines. ./dev compares the first, which does not depend on arguments.
recipe=$(
    cat "$here/dpdk.sh" "$here"/patches/*.patch | sha256sum
    echo "$*"
)
tarball='' sum=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value; usage: $usage"
    case $1 in
        --source) tarball=$2 ;;
        --sha256) sum=$2 ;;
        --drivers) drivers=$2 ;;
        *) fail "unknown argument $1; usage: $usage" ;;
    esac
    shift 2
done

for tool in cc meson ninja patch pkg-config; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing: apt-get install build-essential patch pkg-config meson" \
            "ninja-build python3-pyelftools"
done
if [ -n "$tarball" ]; then
    [ -r "$tarball" ] || fail "cannot read $tarball"
    [ -n "$sum" ] || fail "add --sha256 SUM, the checksum that dpdk.org publishes"
    echo "$sum  $tarball" | sha256sum --check --status ||
        fail "the checksum of $tarball differs from --sha256"
    # The tarball's top folder is named after the version.
    version=$(tar -tf "$tarball" 2>/dev/null | head -n 1 | sed 's|^\./||; s|/.*||')
else
    version=$(dpkg-query -W -f '${Version}' libdpdk-dev 2>/dev/null) ||
        fail "the package libdpdk-dev is not installed: add --source TARBALL --sha256 SUM"
fi
[ -n "$version" ] || fail "$tarball has no top folder"

mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
installed=$prefix/dpdk-${version#dpdk-}
if [ "$(cat "$installed/complete" 2>/dev/null)" = "$recipe" ]; then
    echo "$installed/lib/pkgconfig"
    exit
fi

work=$(mktemp -d "$prefix/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"
mkdir tree

# Fetches the source package of the installed version. Uses private package
# lists, so that the system's stay unchanged.
fetch_source() {
    for tool in apt-get dpkg-source; do
        command -v "$tool" >/dev/null ||
            fail "$tool is missing: apt-get install dpkg-dev, or add --source"
    done
    mkdir lists sources
    etc=/etc/apt
    for list in "$etc"/sources.list "$etc"/sources.list.d/*.list "$etc"/sources.list.d/*.sources; do
        [ -e "$list" ] || continue
        name=$(basename "$list")
        case $name in
            *.sources) sed 's/^Types:.*/Types: deb-src/' "$list" >"sources/$name" ;;
            *) sed -n 's/^deb /deb-src /p' "$list" >"sources/$name" ;;
        esac
    done
    apt() {
        apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources" \
            -o "Dir::State::lists=$work/lists" -o "Dir::Cache::pkgcache=" \
            -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root "$@" >&2
    }
    apt update || fail "apt-get update failed on the source lists"
    source=$(dpkg-query -W -f '${source:Package}' libdpdk-dev)
    apt source --download-only "$source=$version" ||
        fail "the lists have no source package $source $version"
    rmdir tree
    dpkg-source --extract "$source"_*.dsc tree >&2
}

if [ -n "$tarball" ]; then
    tar -xf "$tarball" --strip-components=1 -C tree
else
    fetch_source
fi

# Another version may contain the fix already, or need another patch.
for patch in "$here"/patches/*.patch; do
    if patch -d tree -p1 --dry-run --silent <"$patch" >&2; then
        patch -d tree -p1 <"$patch" >&2
    elif [ -z "$tarball" ]; then
        fail "$patch does not fit DPDK $version"
    else
        echo "dpdk: skipping $patch, which does not fit DPDK $version" >&2
    fi
done

# pyelftools belongs to the distribution's python3, which must come first.
PATH=/usr/bin:$PATH
export PATH
[ ! -e "$installed" ] || rm -r "$installed"
# Newer versions have no kernel modules, and no option for them.
kmods=''
grep -q "^option('enable_kmods'" tree/meson_options.txt && kmods=-Denable_kmods=false
# No link-time optimisation: with it testpmd was 0.98 to 1.03 times as fast
# (net_null, medians of 80 turns). Allocating and freeing packets dominates, and
# stays behind function pointers.
meson setup --prefix="$installed" --libdir=lib --buildtype=release --default-library=static \
    -Dplatform=native -Dtests=false -Denable_drivers="$drivers" -Denable_apps=test-pmd \
    ${kmods:+"$kmods"} -Ddeveloper_mode=disabled objects tree >&2 ||
    fail "meson setup failed"
ninja -C objects >&2 || fail "the build failed"
ninja -C objects install >&2 || fail "the installation failed"
# EAL refuses a plug-in folder that is world-writable, or below such a folder. A
# static link needs none.
rm -rf "$installed"/lib/dpdk "$installed"/lib/*.so*
echo "$recipe" >"$installed/complete"
echo "$installed/lib/pkgconfig"
