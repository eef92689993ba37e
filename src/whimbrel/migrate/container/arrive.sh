#!/bin/bash
# The destination's side of a container's move: is there before the source freezes, and answers what became of it.
# shellcheck source=src/whimbrel/migrate/container/common.sh
. /run/move/common.sh
# shellcheck source=src/whimbrel/migrate/container/files.sh
. /run/move/files.sh
# shellcheck source=/dev/null
. /run/move/settings
cd "$MOVE" || exit 1
mkfifo never ready ahead.ended files.ended 2>/dev/null
mkdir -p work/restore
page_server='' lazy_pages='' kept='' rehearsal='' heart='' takers='' ahead='' why=''
# From one word of the source to the next: a round that has just begun when the time-out passes, the last dump, and the files.
LONGEST_S=$((3 * PATIENCE_S + READY_S))

# Ended from outside before the container may stay here, it ends the container: without lazy-pages it would read zeros.
trap 'exit 1' TERM
trap '[ -z "$rehearsal$heart$takers" ] || kill $rehearsal $heart $takers 2>/dev/null; end_rehearsal; [ -n "$kept" ] || end_container' EXIT

serve_pages() { # NUMBER [PREVIOUS]: a page server takes one connection, and needs the round before to leave out what it has
    pages_came || { why="the pages of the round before did not come whole"; return 1; }
    why="the page server did not start"
    mkdir -p "images/$1" "work/$1"
    (exec timeout "$PATIENCE_S" criu page-server -D "images/$1" -W "work/$1" -o page-server.log --address 0.0.0.0 \
        --port "$PAGES_PORT" ${2:+--prev-images-dir "../$2"} --status-fd 5 5>ready) >/dev/null 2>&1 &
    page_server=$!
    came ready 20
}

pages_came() { # whether the page server of last time, if there was one, has all that was sent
    [ -z "$page_server" ] || wait "$page_server"
}

take() { # PORT NAME: what is sent, into NAME.tar; begins before there is anything
    # What nobody sends to would be waited for long after the move: a side that still runs has not come to its end.
    mkfifo "$2.comes"
    timeout "$LONGEST_S" nc -l "$1" </dev/null >"$2.comes" &
    takers="$takers $!"
    (tee "$2.tar" <"$2.comes" | sha256sum >"$2.sum"; echo ended >"$2.ended") &
    takers="$takers $!"
}

came_whole() { # NAME SUM: what is not whole, or not what was sent, is not unpacked
    local sum
    read -r -t "$FILES_S" _ <>"$1.ended" || return 1
    read -r sum _ <"$1.sum"
    [ "$sum" = "$2" ]
}

take_ahead() { # SUM: the files that came while the container ran; their memory is given back
    came_whole ahead "$1" || { tell "failed: the files that came are not those that were sent"; return; }
    unpack_files ahead.tar || { tell "failed: its files could not be unpacked"; return; }
    say_size ahead
    rm ahead.tar
    ahead=yes
    tell unpacked
}

say_size() { # NAME
    say "$1: $(stat -c %s "$1.tar") bytes"
}

unpack_rest() { # the small images, the files that have changed, and the names of those that are no longer there
    if [ -n "$ahead" ]; then
        unpack_changed files.tar
    else
        unpack_files files.tar && { [ "$TECHNIQUE" = restart ] || unpack files.tar images; }
    fi
}

bring_up() { # SUM of the files
    came_whole files "$1" || { why="the images that came are not those that were sent"; return 1; }
    unpack_rest || { why="its files could not be unpacked"; return 1; }
    say "images taken"
    pages_came || { why="the pages did not come whole"; return 1; }
    mount_root || { why="its root file system could not be mounted"; return 1; }
    case $TECHNIQUE in
    restart) run_anew ;;
    post-copy) bring_up_before_its_memory ;;
    *) restore ;;
    esac || { why="it could not be brought up"; return 1; }
    [ -e "/sys/class/net/$LINK/brport" ] || { why="its link did not join the bridge"; return 1; }
}

run_anew() {
    runc --log "$MOVE/work/run.log" run --detach --bundle "$BUNDLE" "$NAME" </dev/null >/dev/null 2>&1 || return 1
    attach && say attached && say restored
}

restore() { # OPTION...; in the background, so that a signal is heeded meanwhile
    CRIU_CONFIG_FILE=$MOVE/criu.conf timeout -k 5 "$FILES_S" runc restore --detach --tcp-established --image-path "$MOVE/images/final" \
        --work-path "$MOVE/work/restore" --bundle "$BUNDLE" "$@" "$NAME" </dev/null >/dev/null 2>work/restore.err &
    wait "$!"
}

bring_up_before_its_memory() {
    (exec criu lazy-pages --page-server --address "$PEER" --port "$PAGES_PORT" -D images/final -W work/restore \
        -o lazy-pages.log -v2 --status-fd 5 5>ready) >/dev/null 2>&1 &
    lazy_pages=$!
    came ready 20 && restore --lazy-pages
}

give_up() { # REASON: the source may go on only when it is certain that nothing runs here, and that nothing has run
    say "failed: $1"
    end_container || { tell "unsure $1"; return; }
    # Now it may go: as long as the container was there, it would have read zeros without it.
    [ -z "$lazy_pages" ] || kill "$lazy_pages" 2>/dev/null
    if has_run; then tell "unsure $1, after it had run there"; else tell "failed $1"; fi
}

has_run() { # whether CRIU, or we, have said so: peers may have heard of it, and what the source has is older
    grep -q ' restored$' "$MOVE/journal"
}

arrive() { # SUM
    bring_up "$1" || { give_up "$why"; return; }
    if [ -z "$lazy_pages" ]; then
        # Point of no return: from here on the container runs on this side, and the source may only end its own.
        kept=yes
        say complete
        tell restored
        say_size files
        return
    fi
    # Point of no return for the container; for its memory it comes when all of it is here.
    tell restored
    say_size files
    say_that_we_live
    if wait "$lazy_pages"; then
        kept=yes
        silence_ourselves
        say complete
        tell complete
    else
        end_container
        silence_ourselves
        say "lost: the rest of its memory did not come"
        tell lost
    fi
}

say_that_we_live() { # a source that hears nothing for long would take us for dead
    # A shell in the background does not have the descriptors of a coprocess, unless they have another number.
    exec 6>&"${LINE[1]}"
    (while ! read -r -t "$ALIVE_S" <>"$MOVE/never" && kill -0 "$$" && echo alive >&6; do :; done) 2>/dev/null &
    heart=$!
    exec 6>&-
}

silence_ourselves() { # nothing may come after the last word, or into the middle of it
    kill "$heart" 2>/dev/null
    wait "$heart"
    heart=
}

rehearse() { # runc and CRIU do here once, with a program that sleeps, what they will do with the container
    # A first run reads from disk, and where guests are emulated is translated; so it comes before anything stands still.
    local bundle=$MOVE/rehearsal
    end_rehearsal
    mkdir -p "$bundle"/{rootfs,upper,work,images,log}
    if mount -t overlay overlay -o "lowerdir=$HOME_OF/lower,upperdir=$bundle/upper,workdir=$bundle/work" "$bundle/rootfs" &&
        in_rehearsal run --detach --bundle "$bundle" rehearsal &&
        { [ "$TECHNIQUE" = restart ] || {
            in_rehearsal checkpoint --image-path "$bundle/images" --work-path "$bundle/log" rehearsal &&
                in_rehearsal restore --detach --image-path "$bundle/images" --work-path "$bundle/log" --bundle "$bundle" rehearsal
        }; }
    then say rehearsed
    else say "not rehearsed: $(grep -h -m 1 -i error "$bundle"/log/*.log | tail -n 1)"; fi
    end_rehearsal
}

in_rehearsal() { # runc's words; the program inherits the files that runc is given, and a file of ours could not be dumped
    CRIU_CONFIG_FILE=$MOVE/rehearsal/criu.conf timeout -k 2 8 \
        runc --log "$MOVE/rehearsal/log/runc.log" "$@" </dev/null >/dev/null 2>&1
}

end_rehearsal() { # also what one that was broken off has left, which may be frozen
    local group=${GROUP%/*}/rehearsal
    [ ! -e "$group/cgroup.kill" ] || { echo 1 >"$group/cgroup.kill"; echo 0 >"$group/cgroup.freeze"; } 2>/dev/null
    [ ! -e /run/runc/rehearsal ] || forget rehearsal
    ! mountpoint -q "$MOVE/rehearsal/rootfs" || umount -l "$MOVE/rehearsal/rootfs"
}

if has populated 1; then
    kept=yes
    say "failed: a copy is here already"
    exit 1
fi
end_container || { say "failed: what an earlier copy left cannot be removed"; exit 1; }
build_jails || { say "failed: there is no place to unpack what comes"; exit 1; }
let_only_peer_in || { say "failed: strangers cannot be kept out"; exit 1; }
coproc LINE { exec nc -l "$CONTROL_PORT"; }
say listening
# In the background, so that a signal is heeded meanwhile.
rehearse &
rehearsal=$!
wait "$rehearsal"
rehearsal=
take "$AHEAD_PORT" ahead
take "$FILES_PORT" files
while hear "$LONGEST_S"; do
    read -r word argument previous <<<"$heard"
    case $word in
    hello) tell hello ;;
    pages) if serve_pages "$argument" "$previous"; then tell ready; else tell "failed: $why"; fi ;;
    unpack) take_ahead "$argument" ;;
    arrive)
        arrive "$argument"
        break
        ;;
    esac
done
hear 5
exit 0
