# shellcheck shell=sh
# PID 1 of a cell, after cell_group.sh: mounts what a container, runc and CRIU want to see, and becomes their init. Runs within the server's namespaces.
# WHIMBREL_RUN is run in it; without it, it waits for others to come in.
set -eu
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
# What a container writes goes into memory: the server's own root is an overlay, over which there can be no other.
mkdir /run/images
mount --move /srv/images /run/images
mount -t tmpfs -o mode=0755 srv /srv
mkdir /srv/images
mount --move /run/images /srv/images
touch /run/ready
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin tini -- sh -c "${WHIMBREL_RUN:-exec sleep infinity}"
