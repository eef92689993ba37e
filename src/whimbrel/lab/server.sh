#!/bin/sh
# PID 1 of a server's namespaces: builds its root file system and becomes its init.
# Wants TREE (the image), FOLDER (this server's own), IMAGES and SHARED in the environment; WHIMBREL_RUN is run instead of libvirtd.
set -eu
root=$FOLDER/root
mount --make-rprivate /
# By names of its own: in the options of a mount ',', ':' and '\' mean something, and a path may have them.
cd "$FOLDER"
ln -sfn "$TREE" lower
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$root/sys"
mount -t tmpfs -o nosuid,nodev,mode=0755 run "$root/run"
mount -t tmpfs -o nosuid,nodev tmp "$root/tmp"

# Only the devices that QEMU and libvirt use.
mount -t tmpfs -o nosuid,mode=0755 dev "$root/dev"
mkdir -p "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for node in null zero full random urandom tty net/tun kvm; do
    [ -e "/dev/$node" ] || continue
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

mkdir -p "$root/run/libvirt" "$root/srv/images" "$root/srv/shared" "$root/srv/own"
mount --bind "$FOLDER/run" "$root/run/libvirt"
mount --bind "$IMAGES" "$root/srv/images"
mount -o remount,bind,ro "$root/srv/images"
mount --bind "$SHARED" "$root/srv/shared"
mount --bind "$FOLDER/own" "$root/srv/own"

hostname "$NAME"
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
# A server outlives its libvirtd and starts it again, as systemd does on a machine.
libvirt='
    virtlogd -d
    while :; do libvirtd --listen; sleep 0.5; done'
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin tini -- sh -c "${WHIMBREL_RUN:-$libvirt}"
