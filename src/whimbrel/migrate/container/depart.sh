#!/bin/bash
# The source's side of a container's move: rounds while it runs, on the driver's orders, then freeze, dump and hand over.
# Until the destination has answered "restored" nothing here is ended; and from the freeze on nothing here goes on by itself
# unless the destination has said that it has no copy. Without an answer the copy stays frozen: the driver finds out.
. /run/move/common.sh
. /run/move/settings
cd "$MOVE" || exit 1
mkfifo never orders status 2>/dev/null
exec 9<>orders
previous=

connect() {
    coproc LINE { exec nc "$PEER" "$CONTROL_PORT"; }
}

ask_for_page_server() { # NUMBER
    tell "pages $1 $previous"
    hear 30 && [ "$heard" = ready ]
}

one_round() { # NUMBER: all pages that changed since the last one, without the freezer, so without its 100 ms
    ask_for_page_server "$1" || { say "failed: no page server: $heard"; return 1; }
    mkdir -p "images/$1" "work/$1"
    say "round $1"
    criu pre-dump --tree "$(pid_of_container)" -D "images/$1" -W "work/$1" -o pre-dump.log -v3 --track-mem \
        ${previous:+--prev-images-dir "../$previous"} --page-server --address "$PEER" --port "$PAGES_PORT" >/dev/null 2>&1 ||
        { say "failed: pre-dump of round $1"; return 1; }
    previous=$1
    say "round $1 ended"
}

pid_of_container() { # its first process
    local state
    state=$(runc state "$NAME") || return 1
    [[ $state =~ \"pid\":\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}"
}

go_back() { # the container goes on here
    say "failed: $1"
    echo 0 >"$GROUP/cgroup.freeze"
    attach
    say "went on"
    exit 1
}

send_files() { # FOLDER...: their sum is in $sum
    mkfifo sum 2>/dev/null
    tar -c -C / --xattrs --xattrs-include='*' "$@" | tee >(sha256sum >sum) | nc -N "$PEER" "$FILES_PORT" &
    read -r sum _ <sum
    wait "$!"
}

dump() { # OPTION...
    mkdir -p work/final
    CRIU_CONFIG_FILE=$MOVE/criu.conf runc checkpoint --leave-running --tcp-established --image-path "$MOVE/images/final" \
        --work-path "$MOVE/work/final" "$@" "$NAME" >/dev/null 2>work/final/runc.err
}

hand_over() {
    case $TECHNIQUE in
    restart)
        say frozen
        cut
        runc kill "$NAME" TERM
        until_group_says populated 0 20 || { runc kill "$NAME" KILL; until_group_says populated 0 20; }
        runc delete --force "$NAME"
        umount "$BUNDLE/rootfs"
        send_files "srv/$NAME/upper" || return 1
        ;;
    post-copy)
        (exec 7>status; dump --lazy-pages --page-server "$SELF:$PAGES_PORT" --status-fd 7; echo "$?" >work/final/code) &
        dumping=$!
        came status 60 || go_back "it could not be dumped"
        # CRIU had thawed the group to hold its tasks itself; should it die now, they must not go on.
        echo 1 >"$GROUP/cgroup.freeze"
        say dumped
        send_files "run/move/images/final" "srv/$NAME/upper"
        ;;
    *)
        ask_for_page_server final || go_back "no page server: $heard"
        dump ${previous:+--parent-path "../$previous"} --page-server "$PEER:$PAGES_PORT" || go_back "it could not be dumped"
        say dumped
        send_files "run/move/images/final" "srv/$NAME/upper"
        ;;
    esac
    say sent
    tell arrive "$sum"
    hear "$PATIENCE_S" || heard=
    case $heard in
    restored) ;;
    failed*) [ "$TECHNIQUE" = restart ] && start_again "$heard"; stop_serving; go_back "$heard" ;;
    *) say "no answer"; exit 3 ;;
    esac
    say "commit"
    if [ "$TECHNIQUE" = post-copy ]; then
        hear "$PATIENCE_S" || heard=
        [ "$heard" = complete ] || { say "lost: ${heard:-no answer}"; exit 4; }
        wait "$dumping"
    fi
    end_container
    say gone
}

start_again() {
    mount -t overlay overlay -o "lowerdir=$HOME_OF/lower,upperdir=$HOME_OF/upper,workdir=$HOME_OF/work" "$BUNDLE/rootfs"
    runc run --detach --bundle "$BUNDLE" "$NAME" </dev/null >/dev/null 2>&1
    attach
    say "failed: $1"
    say "went on"
    exit 1
}

stop_serving() { # a dump that waits for a destination is let go by a connection that ends at once
    [ "$TECHNIQUE" = post-copy ] || return 0
    : 2>/dev/null >"/dev/tcp/$SELF/$PAGES_PORT"
    wait "$dumping"
}

connect
say connected
number=0
while read -r order <&9; do
    case $order in
    round) number=$((number + 1)); one_round "$number" || exit 1 ;;
    leave) hand_over; exit "$?" ;;
    abort) say "failed: aborted"; exit 1 ;;
    esac
done
