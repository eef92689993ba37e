#!/bin/bash
# carrier_bridge AID: makes the library for CRIU of its base64, and the carrier's bridge, which takes over its link and address.
base64 -d "$1.base64" >"$1"
rm "$1.base64"
modprobe -a veth bridge overlay inet_diag tcp_diag udp_diag unix_diag af_packet_diag netlink_diag 2>/dev/null || true
own=$(ip -o -4 address show dev eth0 | while read -r _ _ _ address _; do echo "$address"; done)
# udev would give both carriers' bridges the same MAC, made of the machine id that they share.
ip link add br0 address "$(cat /sys/class/net/eth0/address)" type bridge stp_state 0 forward_delay 0
ip address flush dev eth0
ip link set eth0 master br0
ip address add "$own" dev br0
ip link set br0 up
