#!/bin/bash
# Puts the container's root file system from the payload disk into place.
mkdir -p /run/payload "$HOME_OF/lower" "$HOME_OF/upper" "$HOME_OF/work" "$BUNDLE/rootfs"
mount -o ro /dev/vdc /run/payload
tar -x -C "$HOME_OF/lower" -f /run/payload/rootfs.tar
umount /run/payload
sync
