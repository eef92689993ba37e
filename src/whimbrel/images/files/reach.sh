#!/bin/bash
# reach.sh NAME HOST PORT EVERY: asks a neighbour over HTTP again and again, in this network namespace, and writes
# a line "seconds NAME ok|failed" each time. Everything is built into bash, so that asking costs next to nothing.
name=$1 host=$2 port=$3 every=$4
ask() {
    exec 3<>"/dev/tcp/$host/$port" || return 1
    printf 'GET / HTTP/1.0\r\n\r\n' >&3
    read -r -t 2 _ status _ <&3
    exec 3>&-
    [ "$status" = 200 ]
}
while :; do
    if ask 2>/dev/null; then said=ok; else said=failed; fi
    echo "$EPOCHREALTIME $name $said"
    read -r -t "$every" <> <(:)
done
