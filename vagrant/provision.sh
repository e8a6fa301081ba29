#!/bin/sh
# Prepares a machine for mpfwd: packages, hugepages, and NICs bound to a driver
# for DPDK. Everything survives a reboot. Needs no Vagrant, and repeats nothing
# that is done already. `provision.sh --help` lists the arguments.
set -eu

# For ip, lsmod and driverctl. DPDK's drivers depend on the libraries that mpfwd
# needs.
packages='driverctl iproute2 kmod librte-meta-mempool librte-meta-net'
hugepages=512
driver=auto
named=
all=
sysctl_file=/etc/sysctl.d/60-mpfwd-hugepages.conf
modprobe_file=/etc/modprobe.d/mpfwd-vfio.conf
devices=/sys/bus/pci/devices

usage() {
    cat <<'TEXT'
provision.sh [--hugepages N] [--driver NAME] [--package NAME]… [--bind all | --bind ADDRESS…]
provision.sh --list-packages

--hugepages N       reserve N hugepages of the default size, now and at each boot (512)
--bind ADDRESS      give this NIC to DPDK, now and at each boot: 0000:01:00.0; repeatable. Refuses
                    a NIC with an address or a default route, or in a bridge or bond, and then
                    changes nothing
--bind all          give all other NICs to DPDK
--driver NAME       vfio-pci, uio_pci_generic, or auto: vfio-pci with an IOMMU or the kernel's
                    no-IOMMU mode, else uio_pci_generic (auto)
--package NAME      install this package, too; repeatable
--list-packages     print the packages that are needed, and do nothing

Exit codes: 0 done, 1 something failed, 2 bad input or refused.
TEXT
}

say() {
    printf 'provision: %s\n' "$*"
}

die() {
    printf 'provision: %s\n' "$*" >&2
    exit 1
}

refuse() {
    printf 'provision: %s\n' "$*" >&2
    exit 2
}

# Shows a command, then runs it.
as_root() {
    say "as root: $*"
    "$@"
}

# put FILE LINE: makes this line the file's only one. Fails if it is already.
put() {
    [ "$(cat "$1" 2>/dev/null)" != "$2" ] || return 1
    say "as root: writing \"$2\" to $1"
    printf '%s\n' "$2" >"$1"
}

# ---- Packages ----

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_missing() {
    missing=
    for package in $packages; do
        is_installed "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "packages: all are there"
        return
    fi
    command -v apt-get >/dev/null ||
        die "no apt-get here: install the equivalents of Debian's packages:$missing"
    as_root apt-get -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends $missing
}

# ---- Hugepages ----

# At each boot systemd-sysctl reserves hugepages, and systemd mounts
# /dev/hugepages.
set_up_hugepages() {
    put "$sysctl_file" "vm.nr_hugepages = $hugepages" ||
        say "hugepages: $sysctl_file already has $hugepages"
    nr=/proc/sys/vm/nr_hugepages
    if [ "$(cat $nr)" -ne "$hugepages" ]; then
        say "as root: echo $hugepages >$nr"
        echo "$hugepages" >$nr
    fi
    if ! grep -q ' /dev/hugepages hugetlbfs ' /proc/mounts; then
        mkdir -p /dev/hugepages
        as_root mount -t hugetlbfs none /dev/hugepages
    fi
    reserved=$(cat $nr)
    [ "$reserved" -ge "$hugepages" ] ||
        die "hugepages: only $reserved of $hugepages are available: reboot, or reserve fewer"
    say "hugepages: $reserved are reserved"
}

# ---- NICs ----

# The PCI addresses of all network controllers, one per line.
nics() {
    for device in "$devices"/*; do
        case $(cat "$device/class") in
        0x02*) basename "$device" ;;
        esac
    done
}

# The kernel's interfaces on a PCI address, one per line. virtio's are one device
# further down.
interfaces() {
    for path in "$devices/$1"/net/* "$devices/$1"/virtio*/net/*; do
        [ ! -e "$path" ] || basename "$path"
    done
}

# Prints why the kernel needs the NIC at a PCI address. Nothing if it is free.
in_use() {
    for interface in $(interfaces "$1"); do
        addresses=$(ip -o -4 addr show dev "$interface")
        addresses=$addresses$(ip -o -6 addr show dev "$interface" scope global)
        routes=$(ip -4 route show default dev "$interface")
        routes=$routes$(ip -6 route show default dev "$interface")
        uppers=$(find "/sys/class/net/$interface/" -name 'upper_*' | sed 's/.*upper_//')
        if [ -n "$addresses" ]; then
            echo "$interface holds an address"
        elif [ -n "$routes" ]; then
            echo "$interface has a default route"
        elif [ -n "$uppers" ]; then
            echo "$interface is part of $(echo "$uppers" | paste -s -d ' ' -)"
        fi
    done
}

# The driver of a PCI address, or nothing.
driver_of() {
    [ ! -e "$devices/$1/driver" ] || basename "$(readlink "$devices/$1/driver")"
}

# Sets $chosen to the addresses to bind. Changes nothing.
choose_nics() {
    chosen=
    for address in $named; do
        [ -e "$devices/$address" ] ||
            refuse "$address: no such PCI device; NICs are: $(nics | paste -s -d ' ' -)"
        nics | grep -qx "$address" || refuse "$address is not a network controller"
        why=$(in_use "$address")
        [ -z "$why" ] || refuse "$address stays with the kernel: $why"
        chosen="$chosen $address"
    done
    [ -n "$all" ] || return 0
    for address in $(nics); do
        why=$(in_use "$address")
        case ${why:+used}$(driver_of "$address") in
        used*) say "$address stays with the kernel: $why" ;;
        # DPDK uses these through the kernel's driver.
        mlx*) say "$address stays with $(driver_of "$address"), which DPDK works through" ;;
        *) chosen="$chosen $address" ;;
        esac
    done
}

# ---- Binding ----

has_iommu() {
    [ -n "$(ls /sys/class/iommu 2>/dev/null)" ]
}

has_noiommu_mode() {
    [ -e /sys/module/vfio/parameters/enable_unsafe_noiommu_mode ]
}

# Sets $driver to one that works on this machine.
choose_driver() {
    modprobe vfio-pci 2>/dev/null || :
    if [ "$driver" = auto ]; then
        driver=vfio-pci
        has_iommu || has_noiommu_mode || driver=uio_pci_generic
    fi
    modprobe "$driver" ||
        die "this kernel has no $driver: install its extra modules, or choose with --driver"
    if has_iommu; then
        return
    fi
    say "WARNING: no IOMMU: these NICs can access all memory of this machine"
    if [ "$driver" = vfio-pci ]; then
        has_noiommu_mode ||
            die "vfio-pci needs an IOMMU or the no-IOMMU mode: write --driver uio_pci_generic"
        put "$modprobe_file" "options vfio enable_unsafe_noiommu_mode=1" || :
        say "as root: echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
        echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
    fi
}

# driverctl saves the override, and applies it at each boot.
bind() {
    for address in $chosen; do
        if [ "$(driver_of "$address")" = "$driver" ] && [ -e "/etc/driverctl.d/pci-$address" ]; then
            say "$address is already bound to $driver"
            continue
        fi
        as_root driverctl set-override "$address" "$driver"
        [ "$(driver_of "$address")" = "$driver" ] ||
            die "binding $address to $driver failed: see dmesg"
    done
}

# ---- Arguments ----

while [ $# -gt 0 ]; do
    case $1 in
    --list-packages)
        for package in $packages; do
            echo "$package"
        done
        exit 0
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    --hugepages | --driver | --package | --bind) [ $# -gt 1 ] || refuse "$1 needs a value" ;;
    *) refuse "unknown argument \"$1\": see provision.sh --help" ;;
    esac
    case $1 in
    --hugepages) hugepages=$2 ;;
    --driver) driver=$2 ;;
    --package) packages="$packages $2" ;;
    --bind) if [ "$2" = all ]; then all=yes; else named="$named $2"; fi ;;
    esac
    shift 2
done
case $hugepages in
'' | *[!0-9]*) refuse "--hugepages $hugepages: write a number of pages, for example 512" ;;
esac
case $driver in
auto | vfio-pci | uio_pci_generic) ;;
*) refuse "--driver $driver: there are vfio-pci, uio_pci_generic and auto" ;;
esac
[ -z "$all" ] || [ -z "$named" ] || refuse "--bind: write all, or addresses"
[ "$(id -u)" -eq 0 ] ||
    refuse "packages, hugepages and NICs: this needs root: run it with sudo"

# First, because it may refuse.
choose_nics
install_missing
set_up_hugepages
if [ -n "$chosen" ]; then
    choose_driver
    bind
fi
