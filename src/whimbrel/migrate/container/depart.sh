#!/bin/bash
# The source's side of a container's move: rounds while it runs, on the driver's orders, then freeze, dump and hand over.
# Until the destination has answered "restored" nothing here is ended; and from the freeze on nothing here goes on by itself
# unless the destination cannot have a copy. Without an answer the copy stays frozen: the driver finds out.
# shellcheck source=src/whimbrel/migrate/container/common.sh
. /run/move/common.sh
# shellcheck source=src/whimbrel/migrate/container/files.sh
. /run/move/files.sh
# shellcheck source=/dev/null
. /run/move/settings
cd "$MOVE" || exit 1
mkfifo never orders status sum 2>/dev/null
exec 9<>orders
previous='' dumping='' leaving='' ahead=''

# Ended from outside: before "arrive" is told the destination has no copy, and this one goes on.
trap 'exit 5' TERM
trap '[ "$leaving" != yes ] || go_back "it was told to end"' EXIT

ended() { # PID SECONDS: waits for a child of ours, and tells it to end when it takes longer
    local deadline=$((SECONDS + $2))
    while kill -0 "$1" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || { kill "$1"; break; }
        read -r -t 0.02 <>"$MOVE/never"
    done
    wait "$1"
}

seconds_for() { # BYTES
    echo $((FILES_S + $1 / 1048576))
}

ask_for_page_server() { # NUMBER
    tell "pages $1 $previous"
    hear 30 && [ "$heard" = ready ]
}

one_round() { # NUMBER: all pages that changed since the last one, without the freezer, so without its 100 ms
    ask_for_page_server "$1" || { say "failed: no page server: $heard"; return 1; }
    mkdir -p "images/$1" "work/$1"
    say "round $1"
    timeout "$PATIENCE_S" criu pre-dump --tree "$(pid_of_container)" -D "images/$1" -W "work/$1" -o pre-dump.log -v3 --track-mem \
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

go_back() { # REASON: the container goes on here
    leaving=
    say "failed: $1"
    if [ "$TECHNIQUE" = restart ]; then
        has populated 1 || { mount_root; runc run --detach --bundle "$BUNDLE" "$NAME" </dev/null >/dev/null 2>&1; }
    else
        let_dump_go
        echo 0 >"$GROUP/cgroup.freeze"
    fi
    attach && has populated 1 && say "went on"
    exit 1
}

let_dump_go() { # a dump that waits for its destination is let go by a connection that ends at once
    [ -n "$dumping" ] || return 0
    : 2>/dev/null >"/dev/tcp/$SELF/$PAGES_PORT"
    ended "$dumping" "$FILES_S"
}

send() { # PORT MOST_CODE PACKER...: their sum is in $sum; fails when not all was sent, or the packer's code is above MOST_CODE
    local port=$1 most_code=$2 codes
    shift 2
    exec 8<>sum
    "$@" | tee >(sha256sum >sum) | timeout "$SEND_S" nc -N "$PEER" "$port"
    codes=("${PIPESTATUS[@]}")
    read -r -t 10 sum _ <&8
    exec 8>&-
    [ "${codes[0]}" -le "$most_code" ] && [ "${codes[1]}${codes[2]}" = 00 ] && [ -n "$sum" ]
}

send_ahead() { # what the container has written into files so far
    if [ "$(stat -f -c %T "$HOME_OF/upper")" = tmpfs ]; then
        # A file in memory that is mapped changes without a sign: nothing of it would count as sent.
        return 0
    fi
    note_files || return 1
    # That a file changes while it is read (1) does no harm: it is sent again.
    if ! { send "$AHEAD_PORT" 1 pack_all && tell "unpack $sum" && hear "$SEND_S" && [ "$heard" = unpacked ]; }; then return 1; fi
    ahead=yes
    # Once for nothing: programs that have run before start sooner, and after the freeze that counts.
    compare_files 2>/dev/null || true
}

send_rest() { # NAME...: these, and what has changed of the files, or all of them; nothing changes now
    if [ -n "$ahead" ]; then
        compare_files && send "$FILES_PORT" 0 pack_changed "$@"
    else
        send "$FILES_PORT" 0 pack_all "$@"
    fi
}

break_off_after() { # SECONDS: a dump that is stuck, by its connection to the page server; in a shell of its own
    # CRIU that is told to end leaves the container's connections broken; CRIU that fails by itself gives them back.
    read -r -t "$1" <>"$MOVE/never"
    kill -0 $$ && ss -K dst "$PEER" dport = ":$PAGES_PORT"
}

dump() { # SECONDS OPTION...: in a shell of its own, which becomes it; 0 is no limit
    local limit=$1
    shift
    mkdir -p work/final
    export CRIU_CONFIG_FILE=$MOVE/criu.conf
    exec timeout "$limit" runc checkpoint --leave-running --tcp-established \
        --image-path "$MOVE/images/final" --work-path "$MOVE/work/final" "$@" "$NAME" >/dev/null 2>work/final/runc.err
}

leave() { # ends with the container frozen, or stopped, and all that the destination needs on its way
    case $TECHNIQUE in
    restart)
        tell hello
        if ! hear 10 || [ "$heard" != hello ]; then
            say "failed: the destination does not answer"
            exit 1
        fi
        leaving=yes
        say frozen
        detach
        runc kill "$NAME" TERM
        until_group_says populated 0 20 || { runc kill "$NAME" KILL; until_group_says populated 0 20; } || go_back "it does not end"
        runc delete --force "$NAME"
        umount "$BUNDLE/rootfs"
        send_rest || go_back "its files could not be sent"
        ;;
    post-copy)
        leaving=yes
        # It ends when all of its memory has gone, which has no limit of its own: nobody can go back from there.
        (dump 0 --lazy-pages --page-server "$SELF:$PAGES_PORT" --status-fd 7 7>status) &
        dumping=$!
        came status "$FILES_S" || { ended "$dumping" 1; dumping=; go_back "it could not be dumped"; }
        # CRIU had thawed the group to hold its tasks itself; should it die now, they must not go on.
        echo 1 >"$GROUP/cgroup.freeze"
        until_group_says frozen 1 5 || go_back "it was not frozen"
        say dumped
        send_rest images/final || go_back "the images could not be sent"
        ;;
    *)
        ask_for_page_server final || { say "failed: no page server: $heard"; exit 1; }
        leaving=yes
        break_off_after "$DUMP_S" >/dev/null 2>&1 &
        local watch=$!
        (dump $((DUMP_S + FILES_S)) ${previous:+--parent-path "../$previous"} --page-server "$PEER:$PAGES_PORT") ||
            go_back "it could not be dumped"
        kill "$watch"
        until_group_says frozen 1 5 || go_back "it was not frozen"
        say dumped
        send_rest images/final || go_back "the images could not be sent"
        ;;
    esac
    say sent
}

hand_over() {
    leave
    # From here on the destination may have a copy: only its answer lets this one go on, or end.
    leaving=told
    tell arrive "$sum" || { say "no answer"; exit 3; }
    hear "$ANSWER_S"
    case $heard in
    restored) say commit ;;
    failed*) go_back "$heard" ;;
    *) say "no answer: $heard"; exit 3 ;;
    esac
    if [ "$TECHNIQUE" = post-copy ]; then
        follow_memory || { say "lost: ${heard:-no answer}"; exit 4; }
    fi
    end_container || { say "failed: what is left here cannot be removed"; exit 1; }
    say gone
}

follow_memory() { # until the destination has all of it, however long that takes, as long as it says that it is alive
    until [ "$heard" = complete ]; do
        hear "$ANSWER_S" && [[ $heard = alive || $heard = complete ]] || return 1
    done
    ended "$dumping" "$FILES_S"
}

if ! has populated 1 || ! has frozen 0; then
    say "failed: it does not run here"
    exit 1
fi
let_only_peer_in || { say "failed: strangers cannot be kept out"; exit 1; }
coproc LINE { exec nc "$PEER" "$CONTROL_PORT"; }
tell hello
if ! hear "$READY_S" || [ "$heard" != hello ]; then
    say "failed: the destination does not answer"
    exit 1
fi
# While it still runs, as asking takes its time.
read -r written _ < <(du -s -B1 "$HOME_OF/upper")
SEND_S=$(seconds_for "$written")
DUMP_S=$PATIENCE_S
if read -r memory 2>/dev/null <"$GROUP/memory.current" && [ "$(seconds_for "$memory")" -lt "$PATIENCE_S" ]; then
    DUMP_S=$(seconds_for "$memory")
fi
say connected
send_ahead || { say "failed: its files could not be sent: $heard"; exit 1; }
say "files ahead"
number=0
# A driver that has died gives no more orders; one that lives waits for a round no longer than the time-out lets that take.
while read -r -t $((PATIENCE_S + READY_S)) order <&9; do
    case $order in
    round) number=$((number + 1)); one_round "$number" || exit 1 ;;
    leave) hand_over; exit 0 ;;
    abort) say "failed: aborted"; exit 1 ;;
    esac
done
say "failed: no more orders came"
exit 1
