#!/bin/bash
# container_start PORT: runs the container here, joins its link, and waits until it answers, on this port as well.
mountpoint -q "$BUNDLE/rootfs" || mount_root
runc delete --force "$NAME" 2>/dev/null || true
runc run --detach --bundle "$BUNDLE" "$NAME" </dev/null >/dev/null 2>&1
ip link set "$(link_name)" master br0
until_it_serves "$1"
