#!/bin/sh
# What CRIU calls while it works (criu(8), --action-script); of its many calls three matter. On the source a dump begins with the
# freeze: CRIU's own freezing waits in steps of 100 ms, and with the group frozen from before its start the copy here can only
# go on when we say so. On the destination the link joins right before TCP leaves repair mode, which wakes the peers.
case $CRTOOLS_SCRIPT_ACTION in
pre-dump | network-unlock | post-resume) exec bash /run/move/on.sh "$CRTOOLS_SCRIPT_ACTION" ;;
esac
