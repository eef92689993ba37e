#!/bin/bash
# folder.sh VERB [ARGUMENT]: what a driver does with the folder of a move on one side, besides starting and ending its scripts.
MOVE=/run/move

give_back() { # the memory in which the folder lies, and what an earlier move left there
    while mountpoint -q "$MOVE"; do umount -l "$MOVE"; done
}

case $1 in
    make) # in memory, of a size that the usual one of /run would not allow; programs may run from it, as they may not in /run
        give_back
        mkdir -p "$MOVE"
        mount -t tmpfs -o size=60%,mode=700 move "$MOVE"
        ;;
    begin) # its scripts are in it
        chmod +x "$MOVE/hook.sh"
        touch "$MOVE/journal"
        ;;
    journal)
        cat "$MOVE/journal" 2>/dev/null || true
        ;;
    order) # opened for reading as well, so that it does not wait for a script that has gone
        [ ! -p "$MOVE/orders" ] || echo "$2" 1<>"$MOVE/orders"
        ;;
    fetch) # a small file, or nothing
        base64 "$MOVE/$2" 2>/dev/null || true
        ;;
    last-words) # what its logs say of a failure
        cd "$MOVE" || exit 1
        tail -n 3 journal
        cat ./*.err work/*.err work/*/*.err work/*.log 2>/dev/null | tail -n 5
        grep -h Error work/*/*.log 2>/dev/null | tail -n 5
        ;;
    clear)
        give_back
        nft delete table inet whimbrel_move 2>/dev/null || true
        ;;
    *)
        echo "folder.sh: $1 is not known" >&2
        exit 2
        ;;
esac
