#!/bin/sh
# Gives eth0 the address in whimbrel.address=A.B.C.D/N; the guest needs no route: viewers are on its network.
set -eu
for word in $(cat /proc/cmdline); do
    case $word in
    whimbrel.address=*) address=${word#*=} ;;
    esac
done
tries=0
until ip link show eth0 >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ]
    sleep 0.1
done
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip address add "$address" dev eth0
ip link set eth0 up
