#!/bin/bash
# The destination's side of a container's move: is there before the source freezes, and answers what became of it.
. /run/move/common.sh
. /run/move/settings
cd "$MOVE" || exit 1
mkfifo never ready files-ended 2>/dev/null
page_server=

serve_pages() { # NUMBER [PREVIOUS]: a page server takes one connection, and needs the round before to leave out what it has
    mkdir -p "images/$1" "work/$1"
    (exec criu page-server -D "images/$1" -W "work/$1" -o page-server.log --address 0.0.0.0 --port "$PAGES_PORT" \
        ${2:+--prev-images-dir "../$2"} --status-fd 5 5>ready) >/dev/null 2>&1 &
    page_server=$!
    came ready 20
}

take_files() { # the small images, and what the container has written; begins before there is anything
    (nc -l "$FILES_PORT" </dev/null >files.tar; echo ended >files-ended) &
}

unpack_files() { # SUM: what is not whole, or not what was sent, is not unpacked
    local ended sum
    read -r -t "$PATIENCE_S" ended <>files-ended || return 1
    sum=$(sha256sum files.tar)
    [ "${sum%% *}" = "$1" ] && tar -x -C / --xattrs --xattrs-include='*' -f files.tar
}

bring_up() { # SUM of the files
    unpack_files "$1" || { why="the images that came are not those that were sent"; return 1; }
    say "images taken"
    if [ -n "$page_server" ]; then
        wait "$page_server" || { why="the pages did not come whole"; return 1; }
        say "pages taken"
    fi
    mount -t overlay overlay -o "lowerdir=$HOME_OF/lower,upperdir=$HOME_OF/upper,workdir=$HOME_OF/work" "$BUNDLE/rootfs" ||
        { why="its root file system could not be mounted"; return 1; }
    case $TECHNIQUE in
    restart) runc run --detach --bundle "$BUNDLE" "$NAME" </dev/null >/dev/null 2>work/run.log && attach && say attached && say restored ;;
    post-copy) bring_up_before_its_memory ;;
    *) restore ;;
    esac || { why=${why:-"it could not be restored"}; return 1; }
}

restore() { # OPTION...
    CRIU_CONFIG_FILE=$MOVE/criu.conf runc restore --detach --tcp-established --image-path "$MOVE/images/final" \
        --work-path "$MOVE/work/restore" --bundle "$BUNDLE" "$@" "$NAME" </dev/null >/dev/null 2>work/restore.err
}

bring_up_before_its_memory() {
    mkdir -p work/restore
    (exec criu lazy-pages --page-server --address "$PEER" --port "$PAGES_PORT" -D images/final -W work/restore \
        -o lazy-pages.log -v2 --status-fd 5 5>ready) >/dev/null 2>&1 &
    lazy_pages=$!
    echo "$lazy_pages" >lazy-pages.pid
    came ready 20 || return 1
    restore --lazy-pages
}

follow_memory() { # without the daemon a page that is missing would read as zeros: then no copy may go on here
    [ "$TECHNIQUE" = post-copy ] || return 0
    if wait "$lazy_pages"; then
        say "memory complete"
        return 0
    fi
    why="the rest of its memory did not come"
    return 1
}

end_container
coproc LINE { exec nc -l "$CONTROL_PORT"; }
take_files
say listening
while hear "$PATIENCE_S"; do
    read -r word number previous <<<"$heard"
    case $word in
    round | pages) serve_pages "$number" "$previous" && tell ready || tell failed the page server did not start ;;
    arrive)
        why=
        if bring_up "$number"; then
            # Point of no return: from here on the container runs on this side, and the source may only end its own.
            tell restored
            if follow_memory; then tell complete && say complete; else end_container; say "failed: $why"; tell "lost $why"; fi
        else
            end_container
            say "failed: $why"
            tell "failed $why"
        fi
        break
        ;;
    esac
done
hear 5
exit 0
