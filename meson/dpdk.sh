#!/bin/sh
# Builds a DPDK for mpfwd to be linked against: compiled for this CPU and with DPDK's own optimisation, static, only the drivers
# below. The distribution's archives are compiled for any CPU and with less optimisation, which costs a forwarder a tenth or more.
#
#     dpdk.sh PREFIX [--source TARBALL --sha256 SUM] [--drivers LIST]
#
# Without a tarball the source comes from the distribution's source package, of the version that is installed. Installs below
# PREFIX/VERSION, testpmd included, and prints the folder to set PKG_CONFIG_PATH to. What is there already is kept, if it was built by
# the same recipe: this script, its arguments and the patches beside it, which mend what mpfwd cannot work around.
set -eu

# Virtual devices, and the NICs and virtual machines' ports that most people have.
drivers=bus/auxiliary,bus/pci,bus/vdev,common/iavf,mempool/ring,mempool/stack,net/af_packet,net/af_xdp,net/bonding,net/e1000,net/ena,net/i40e
drivers=$drivers,net/iavf,net/ice,net/igc,net/ixgbe,net/memif,net/null,net/pcap,net/ring,net/tap,net/vhost,net/virtio,net/vmxnet3

fail() {
    echo "dpdk: $1" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
usage="dpdk.sh PREFIX [--source TARBALL --sha256 SUM] [--drivers LIST]"
[ $# -ge 1 ] || fail "usage: $usage"
prefix=$1
shift
# Two lines: ./dev compares the first, whatever the arguments were.
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
        fail "$tool is missing (Debian, Ubuntu: apt-get install build-essential patch pkg-config meson ninja-build python3-pyelftools)"
done
if [ -n "$tarball" ]; then
    [ -r "$tarball" ] || fail "cannot read $tarball"
    [ -n "$sum" ] || fail "write --sha256 SUM beside --source: sha256sum $tarball prints it, compare it with what dpdk.org publishes"
    echo "$sum  $tarball" | sha256sum --check --status || fail "$tarball is not what --sha256 says it is"
    # The folder that the tarball holds is the version's name.
    version=$(tar -tf "$tarball" 2>/dev/null | head -n 1 | sed 's|^\./||; s|/.*||')
else
    version=$(dpkg-query -W -f '${Version}' libdpdk-dev 2>/dev/null) ||
        fail "libdpdk-dev is not installed as a package: give a source with --source TARBALL --sha256 SUM"
fi
[ -n "$version" ] || fail "$tarball holds no folder"

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

# The source package of the installed version, through a private copy of apt's lists, so that the system's own stay as they are.
fetch_source() {
    for tool in apt-get dpkg-source; do
        command -v "$tool" >/dev/null || fail "$tool is missing (apt-get install dpkg-dev), or give a source with --source"
    done
    mkdir lists sources
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
    rmdir tree
    dpkg-source --extract "$source"_*.dsc tree >&2
}

if [ -n "$tarball" ]; then
    tar -xf "$tarball" --strip-components=1 -C tree
else
    fetch_source
fi

# Another version may have mended it itself, or need another patch.
for patch in "$here"/patches/*.patch; do
    if patch -d tree -p1 --dry-run --silent <"$patch" >&2; then
        patch -d tree -p1 <"$patch" >&2
    elif [ -z "$tarball" ]; then
        fail "$patch does not fit DPDK $version"
    else
        echo "dpdk: left out, because it does not fit DPDK $version: $patch" >&2
    fi
done

# The distribution's python3 comes first: it is the one that has pyelftools.
PATH=/usr/bin:$PATH
export PATH
[ ! -e "$installed" ] || rm -r "$installed"
# Newer versions have no kernel modules to leave out.
kmods=''
grep -q "^option('enable_kmods'" tree/meson_options.txt && kmods=-Denable_kmods=false
# No link-time optimisation: testpmd was between 0.98 and 1.03 times as fast with it (net_null, medians of 80 turns), because what costs,
# freeing and allocating packets, is called by pointer and stays so.
meson setup --prefix="$installed" --libdir=lib --buildtype=release --default-library=static -Dplatform=native -Dtests=false \
    -Denable_drivers="$drivers" -Denable_apps=test-pmd ${kmods:+"$kmods"} -Ddeveloper_mode=disabled objects tree >&2 ||
    fail "meson did not accept the source"
ninja -C objects >&2 || fail "the build failed"
ninja -C objects install >&2 || fail "the installation failed"
# EAL refuses a plug-in folder that everybody may write to, or one below such a folder; the static link needs none.
rm -rf "$installed"/lib/dpdk "$installed"/lib/*.so*
echo "$recipe" >"$installed/complete"
echo "$installed/lib/pkgconfig"
