#!/bin/bash
# What CRIU calls while it works (criu(8), --action-script). On the source a dump begins with the freeze: CRIU's own freezing
# waits in steps of 100 ms, and with the group frozen from before its start the copy here can only go on when we say so. On the
# destination the link is joined right before TCP leaves repair mode, which sends a probe that wakes the peers.
. /run/move/common.sh
. /run/move/settings
case $CRTOOLS_SCRIPT_ACTION in
pre-dump)
    [ "$SIDE" = source ] || exit 0
    echo 1 >"$GROUP/cgroup.freeze"
    until_group_says frozen 1 10 || exit 1
    say frozen
    cut
    ;;
network-unlock)
    [ "$SIDE" = destination ] || exit 0
    attach
    say attached
    ;;
post-resume)
    [ "$SIDE" = destination ] || exit 0
    say restored
    ;;
esac
exit 0
