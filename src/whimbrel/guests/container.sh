# shellcheck shell=bash disable=SC2034
# The container on a carrier or in a cell: where it lies, its network and its link. For the scripts beside this one (scripts.py), and
# for those of a move (migrate/container/common.sh).
NAME=origin
HOME_OF=/srv/$NAME
BUNDLE=$HOME_OF/bundle
GROUP=/sys/fs/cgroup/whimbrel/$NAME

# told KEY: what the side is told of the container (carrier.py, settings_of), without the rest of it: that has LD_PRELOAD, for CRIU alone.
told() (
    # shellcheck source=/dev/null
    . "$HOME_OF/place"
    printf '%s\n' "${!1-}"
)

link_name() { # the name of the container's link in the carrier; a side that an older whimbrel made names none
    local named
    named=$(told LINK)
    printf '%s\n' "${named:-veth-$NAME}"
}

mount_root() {
    mount -t overlay overlay -o "lowerdir=$HOME_OF/lower,upperdir=$HOME_OF/upper,workdir=$HOME_OF/work" "$BUNDLE/rootfs"
}

make_network() { # the container's own, with its address ($ADDRESS, $MAC); its link ($LINK) is up, and joins nothing
    ip netns add "$NAME" &&
        ip link add "$LINK" type veth peer name eth0 netns "$NAME" address "$MAC" &&
        ip link set "$LINK" up &&
        ip -n "$NAME" link set lo up &&
        ip -n "$NAME" link set eth0 up &&
        ip -n "$NAME" address add "$ADDRESS" dev eth0 &&
        ip netns exec "$NAME" sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify'
}

until_it_serves() { # PORT...: the service's ports take connections in its own network, and those; half a minute for each
    local ports port
    # A side that an older whimbrel made says nothing of ports, and is a stream's.
    read -r -a ports <<<"$(told PORTS)"
    [ "${#ports[@]}" -gt 0 ] || ports=(1935 80)
    [ "${ports[*]}" != none ] || ports=()
    for port in "${ports[@]}" "$@"; do
        until_true 300 takes_connections "$port" ip netns exec "$NAME"
    done
}
