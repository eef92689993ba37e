# Sourced by depart.sh, arrive.sh and hook.sh, which run in the carriers. Everything of a move lies in $MOVE, a folder in memory.
# Each side writes a journal: a line per event, with the time of its own wall clock in front. The driver reads it.
# shellcheck shell=bash disable=SC2034
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
MOVE=/run/move
# shellcheck source=src/whimbrel/guests/container.sh
. "$MOVE/container.sh"
# ADDRESS and MAC of the container, the same on both sides; LINK, its link; LD_PRELOAD, which helps CRIU.
# shellcheck source=/dev/null
. "$HOME_OF/place"
# A side that an older whimbrel made names none.
LINK=${LINK:-veth-$NAME}
CONTROL_PORT=7000 PAGES_PORT=7001 FILES_PORT=7002 AHEAD_PORT=7003
# Each wait is shorter than that of whoever waits for it: files and pages, then the answer, then the driver. What depends on how
# much there is, a dump and the sending of files, may take a second more for each MiB: what is slower than that counts as stuck. The
# destination waits for all of it, and for a round, as long as the move's time-out (PATIENCE_S) lets each.
READY_S=45 FILES_S=30 ANSWER_S=90 ALIVE_S=10

let_only_peer_in() { # the ports of a move, those of CRIU too, are open to the other side alone (nft(8)), until side.py clears up
    nft -f - <<EOF
table inet whimbrel_move
delete table inet whimbrel_move
table inet whimbrel_move {
    chain input {
        type filter hook input priority filter
        iif lo accept
        ip saddr $PEER accept
        tcp dport $CONTROL_PORT-$AHEAD_PORT drop
    }
}
EOF
}

say() { printf '%s %s\n' "$EPOCHREALTIME" "$*" >>"$MOVE/journal"; }

hear() { # SECONDS: the next line from the other side, in $heard; fails when none comes in time
    heard=
    # bash takes the descriptors away when the program at the other end has ended.
    [ -n "${LINE[0]-}" ] && read -r -t "$1" heard <&"${LINE[0]}"
}

tell() { { printf '%s\n' "$*" >&"${LINE[1]}"; } 2>/dev/null; }

came() { # PIPE SECONDS: whether a NUL came through a named pipe before whoever writes it ended
    local nothing
    read -r -t "$2" -d '' nothing <"$1"
}

has() { # KEY VALUE: whether the container's group says so
    local key value
    [ -e "$GROUP/cgroup.events" ] || return 1
    while read -r key value; do
        [ "$key $value" = "$1 $2" ] && return 0
    done <"$GROUP/cgroup.events"
    return 1
}

until_group_says() { # KEY VALUE SECONDS; a group that is gone holds nothing
    local deadline=$((SECONDS + $3))
    until has "$1" "$2" || { [ "$1" = populated ] && [ ! -e "$GROUP" ]; }; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        read -r -t 0.005 <>"$MOVE/never"
    done
    return 0
}

attach() { # the container's link joins the bridge, and its neighbours learn where it is
    ip link set "$LINK" master br0 && ip -n "$NAME" link set eth0 address "$MAC"
}

detach() { ip link set "$LINK" nomaster; }

end_container() { # whatever state it is in; succeeds when nothing of it is left that could run
    # First of all nothing of it may run on, and a builtin is the quickest way.
    [ ! -e "$GROUP/cgroup.freeze" ] || echo 1 >"$GROUP/cgroup.freeze"
    detach
    if [ -e "$GROUP/cgroup.kill" ]; then
        echo 1 >"$GROUP/cgroup.kill"
        until_group_says populated 0 20 || return 1
    fi
    forget "$NAME"
    clear_the_way
}

forget() { # NAME: what runc holds of a container that has ended
    timeout -k 2 20 runc delete --force "$1" >/dev/null 2>&1
    # A restore that was broken off leaves its root file system mounted where runc would make the next one.
    if [ -e "/run/runc/$1" ]; then
        umount -l "/run/runc/$1/criu-root" 2>/dev/null
        rm -rf --one-file-system "/run/runc/$1"
    fi
}

clear_the_way() { # nothing of an earlier copy is left: no frozen group, no files of then, no half-closed connections
    if [ -e "$GROUP/cgroup.freeze" ]; then
        echo 0 >"$GROUP/cgroup.freeze"
        rmdir "$GROUP" || return 1
    fi
    if mountpoint -q "$BUNDLE/rootfs"; then umount "$BUNDLE/rootfs" || return 1; fi
    rm -rf "$HOME_OF/upper" "$HOME_OF/work"
    mkdir -p "$HOME_OF/upper" "$HOME_OF/work"
    # The connections of a copy that was killed wait for answers in its network, which then cannot take them again. The link
    # goes first: as long as it is there it keeps the old network alive.
    ip link delete "$LINK"
    ip netns delete "$NAME"
    make_network
}
