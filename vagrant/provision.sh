#!/bin/sh
# Makes a machine ready for mpfwd: packages, hugepages, and NICs bound to a driver that DPDK can use; all of it survives a reboot.
# Takes arguments only, knows nothing of Vagrant, and does nothing that has been done already. `provision.sh --help` lists the arguments.
set -eu

# ip, lsmod and driverctl for what is below; DPDK's drivers bring along the libraries that mpfwd needs, too.
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

--hugepages N       reserve so many hugepages of the default size, now and at each boot (512)
--bind ADDRESS      give this NIC to DPDK, now and at each boot: 0000:01:00.0; repeatable. One that holds an address or a default route,
                    or is part of a bridge or bond, is refused, and then none is touched
--bind all          give all NICs to DPDK that are not in use like that
--driver NAME       vfio-pci, uio_pci_generic or auto: vfio-pci where there is an IOMMU or the kernel has its no-IOMMU mode, else
                    uio_pci_generic (auto)
--package NAME      install this package, too; repeatable
--list-packages     say which packages are needed, and do nothing

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

# put FILE LINE: the file holds this line and nothing else. Whether it had to be written.
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
    command -v apt-get >/dev/null || die "install with this system's package manager what Debian calls:$missing"
    as_root apt-get -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
}

# ---- Hugepages ----

# Reserved by systemd-sysctl at each boot. systemd mounts /dev/hugepages by itself.
set_up_hugepages() {
    put "$sysctl_file" "vm.nr_hugepages = $hugepages" || say "hugepages: $sysctl_file says $hugepages already"
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
    [ "$reserved" -ge "$hugepages" ] || die "hugepages: only $reserved of $hugepages can be had now: reboot, or ask for fewer"
    say "hugepages: $reserved are reserved"
}

# ---- Which NICs ----

# All PCI addresses of network controllers, one a line.
nics() {
    for device in "$devices"/*; do
        case $(cat "$device/class") in
        0x02*) basename "$device" ;;
        esac
    done
}

# The kernel's interfaces on this PCI address, one a line. virtio's are a device further down.
interfaces() {
    for path in "$devices/$1"/net/* "$devices/$1"/virtio*/net/*; do
        [ ! -e "$path" ] || basename "$path"
    done
}

# What keeps this PCI address from being taken; nothing if it is free.
in_use() {
    for interface in $(interfaces "$1"); do
        if [ -n "$(ip -o -4 addr show dev "$interface")$(ip -o -6 addr show dev "$interface" scope global)" ]; then
            echo "$interface holds an address"
        elif [ -n "$(ip -4 route show default dev "$interface")$(ip -6 route show default dev "$interface")" ]; then
            echo "$interface has a default route"
        elif [ -n "$(find "/sys/class/net/$interface/" -name 'upper_*')" ]; then
            echo "$interface is part of $(find "/sys/class/net/$interface/" -name 'upper_*' | sed 's/.*upper_//' | paste -s -d ' ' -)"
        fi
    done
}

# The driver of this PCI address, or nothing.
driver_of() {
    [ ! -e "$devices/$1/driver" ] || basename "$(readlink "$devices/$1/driver")"
}

# Sets $chosen to the addresses to bind. Nothing has been touched when it refuses.
choose_nics() {
    chosen=
    for address in $named; do
        [ -e "$devices/$address" ] || refuse "$address: there is no such PCI device; there are: $(nics | paste -s -d ' ' -)"
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
        # DPDK drives these by the kernel's driver.
        mlx*) say "$address stays with $(driver_of "$address"), which DPDK works with" ;;
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

# Sets $driver to one that works here.
choose_driver() {
    modprobe vfio-pci 2>/dev/null || :
    if [ "$driver" = auto ]; then
        driver=vfio-pci
        has_iommu || has_noiommu_mode || driver=uio_pci_generic
    fi
    modprobe "$driver" || die "this kernel has no $driver: install its package of further modules, or choose with --driver"
    if has_iommu; then
        return
    fi
    say "THERE IS NO IOMMU: whoever drives these NICs can have them read and write all memory of this machine"
    if [ "$driver" = vfio-pci ]; then
        has_noiommu_mode || die "vfio-pci needs an IOMMU, and this kernel has no no-IOMMU mode: --driver uio_pci_generic"
        put "$modprobe_file" "options vfio enable_unsafe_noiommu_mode=1" || :
        say "as root: echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
        echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
    fi
}

# driverctl writes down what it was told, and does it again at each boot.
bind() {
    for address in $chosen; do
        if [ "$(driver_of "$address")" = "$driver" ] && [ -e "/etc/driverctl.d/pci-$address" ]; then
            say "$address is bound to $driver already"
            continue
        fi
        as_root driverctl set-override "$address" "$driver"
        [ "$(driver_of "$address")" = "$driver" ] || die "$address was not bound to $driver: see dmesg"
    done
}

# ---- What is asked for ----

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
    --hugepages | --driver | --package | --bind) [ $# -gt 1 ] || refuse "$1: write what" ;;
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
[ "$(id -u)" -eq 0 ] || refuse "this installs packages, reserves hugepages and binds NICs, which needs root: run it by sudo"

# Before anything is changed, because it may refuse.
choose_nics
install_missing
set_up_hugepages
if [ -n "$chosen" ]; then
    choose_driver
    bind
fi
