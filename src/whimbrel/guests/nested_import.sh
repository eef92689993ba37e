#!/bin/bash
# Makes the container's image from the payload disk.
mkdir -p /run/payload
mount -o ro /dev/vdc /run/payload
systemctl start docker.service
docker import /run/payload/rootfs.tar "$NAME"
umount /run/payload
systemctl stop docker.service docker.socket containerd.service
sync
