#!/bin/sh
# Makes the guest's disk. `image.sh FOLDER MPFWD` writes disk.ext4, vmlinuz and initrd to FOLDER, and `complete` at the end. The guest is a
# Debian of this machine's release. It has no network, so the disk contains its kernel, what vagrant/provision.sh would install, the
# libraries of this mpfwd, and agent.sh, which runs the test's commands. `image.sh --packages MPFWD` lists the packages on top of the
# minimal system.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$1
mpfwd=$2

# shellcheck source=/dev/null
. /etc/os-release
if [ "$ID" != debian ]; then
    echo "image: mpfwd has to run in the guest, which is made on Debian for Debian; this is $PRETTY_NAME" >&2
    exit 1
fi

# The packages of a program's libraries.
linked_with() {
    ldd "$1" | awk '$2 == "=>" { print $3 }' | while read -r library; do
        dpkg -S "$library" "$(realpath "$library")" 2>/dev/null | head -n 1 | cut -d : -f 1
    done | sort -u
}

packages() {
    printf '%s\n' linux-image-amd64 systemd-sysv udev
    "$here/../../vagrant/provision.sh" --list-packages
    linked_with "$mpfwd"
}

if [ "$folder" = --packages ]; then
    packages
    exit
fi

# In namespaces, so that mounts and processes are gone with this script, however it ends.
if [ -z "${IMAGE_NAMESPACE:-}" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    IMAGE_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child -- "$0" "$@"
fi

tree=$folder/tree
debootstrap --variant=minbase "$VERSION_CODENAME" "$tree"

# A small initrd: only what this guest boots from.
mkdir -p "$tree/etc/initramfs-tools/conf.d"
echo MODULES=list >"$tree/etc/initramfs-tools/conf.d/guest"
printf '%s\n' virtio_pci virtio_blk ext4 >"$tree/etc/initramfs-tools/modules"
mount -t proc none "$tree/proc"
packages | xargs chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends
umount "$tree/proc"

install -m 755 "$here/agent.sh" "$tree/usr/local/sbin/agent"
install -m 644 "$here/agent.service" "$tree/etc/systemd/system/agent.service"
systemctl --root "$tree" enable agent.service
# Nobody logs in; the timers only slow the boot down.
systemctl --root "$tree" mask getty.target serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer
echo guest >"$tree/etc/hostname"
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree/etc/resolv.conf"

cp "$tree"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$tree"/boot/initrd.img-* "$folder/initrd"
truncate -s 2G "$folder/disk.ext4"
mkfs.ext4 -q -d "$tree" "$folder/disk.ext4"
rm -rf "$tree"
touch "$folder/complete"
