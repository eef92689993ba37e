# Sourced by depart.sh and arrive.sh, which run in the carriers. Everything of a move lies in $MOVE, a folder in memory.
# Each side writes a journal: a line per event, with the time of its own wall clock in front. The driver reads it.
# shellcheck shell=bash
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
NAME=origin
HOME_OF=/srv/$NAME
BUNDLE=$HOME_OF/bundle
MOVE=/run/move
GROUP=/sys/fs/cgroup/whimbrel/$NAME
CONTROL_PORT=7000 PAGES_PORT=7001 FILES_PORT=7002

say() { printf '%s %s\n' "$EPOCHREALTIME" "$*" >>"$MOVE/journal"; }

hear() { # SECONDS: the next line from the other side, in $heard; fails when none comes in time
    heard=
    # bash takes the descriptors away when the program at the other end has ended.
    [ -n "${LINE[0]-}" ] && read -r -t "$1" heard <&"${LINE[0]}"
}

tell() { printf '%s\n' "$*" >&"${LINE[1]}"; }

came() { # PIPE SECONDS: whether a byte came through a named pipe before whoever writes it ended
    [ "$(timeout "$2" head -c 1 "$1" | wc -c)" = 1 ]
}

has() { # KEY VALUE: whether the container's group says so
    local key value
    while read -r key value; do
        [ "$key $value" = "$1 $2" ] && return 0
    done <"$GROUP/cgroup.events"
    return 1
}

until_group_says() { # KEY VALUE SECONDS
    local deadline=$((SECONDS + $3))
    until has "$1" "$2"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        read -r -t 0.005 <>"$MOVE/never"
    done
}

attach() { # the container's link joins the bridge, and its neighbours learn where it is
    ip link set "veth-$NAME" master br0
    ip netns exec "$NAME" ip link set eth0 address "$MAC"
}

cut() { ip link set "veth-$NAME" nomaster; }

end_container() { # whatever state it is in; its link is cut, so nobody hears of it
    cut
    if [ -e "$GROUP/cgroup.kill" ]; then
        echo 1 >"$GROUP/cgroup.kill"
        until_group_says populated 0 20 || return 1
    fi
    runc delete --force "$NAME" >/dev/null 2>&1
    clear_the_way
}

clear_the_way() { # nothing of an earlier copy is left: runc restores into no frozen group, and files of then are not those of now
    if [ -e "$GROUP/cgroup.freeze" ]; then
        echo 0 >"$GROUP/cgroup.freeze"
        rmdir "$GROUP"
    fi
    mountpoint -q "$BUNDLE/rootfs" && umount "$BUNDLE/rootfs"
    rm -rf "$HOME_OF/upper" "$HOME_OF/work"
    mkdir -p "$HOME_OF/upper" "$HOME_OF/work"
}
