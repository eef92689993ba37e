# PID 1 of a cell: mounts what a container, runc and CRIU want to see, and becomes their init. Runs within the server's namespaces.
# WHIMBREL_RUN is run in it; without it, it waits for others to come in.
set -eu
mount --make-rprivate /
mount -t proc -o nosuid,nodev,noexec proc /proc
# Version 2 of control groups, whose root here is the server's own group: whatever version counts and limits on this machine, this
# one freezes and ends a group as a whole. libvirtd does not see it, and so does with its QEMUs what it always did.
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
# What a container writes goes into memory: the server's own root is an overlay, over which there can be no other.
mkdir /run/images
mount --move /srv/images /run/images
mount -t tmpfs -o mode=0755 srv /srv
mkdir /srv/images
mount --move /run/images /srv/images
touch /run/ready
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin tini -- sh -c "${WHIMBREL_RUN:-exec sleep infinity}"
