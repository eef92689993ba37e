#!/bin/bash
# packed_start NAME ROOT LINK MAC ADDRESS PORT...: one more container, with a network of its own; ends once it takes connections.
name=$1 root=$2 link=$3 mac=$4 address=$5
shift 5
home=/srv/$name
mount -t overlay overlay -o "lowerdir=$root,upperdir=$home/upper,workdir=$home/work" "$home/bundle/rootfs"
ip netns add "$name"
ip link add "$link" type veth peer name eth0 netns "$name" address "$mac"
ip link set "$link" up master br0
ip -n "$name" link set lo up
ip -n "$name" link set eth0 up
ip -n "$name" address add "$address" dev eth0
runc run --detach --bundle "$home/bundle" "$name" </dev/null >/dev/null 2>&1
for port in "$@"; do
    until_true 300 takes_connections "$port" ip netns exec "$name"
done
