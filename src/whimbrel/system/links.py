"""Links between network namespaces: veth pairs, bridges, addresses, and the rate a link is shaped to."""

from __future__ import annotations

import os

from whimbrel.errors import CapabilityError
from whimbrel.system.netns import inside
from whimbrel.system.process import run

# tc-tbf(8): the burst must hold at least one timer tick at the full rate, and a 64 KiB segment of the veth's GSO.
_SHORTEST_BURST_BYTES = 256 * 1024
_TICK_S = 0.004
_QUEUE_MS = 50


def add_bridge(netns: str, name: str) -> None:
    """A bridge without spanning tree, so that a port forwards at once.

    Its address is given, or it would be the lowest of its ports': when that port leaves, all that know the address lose the
    bridge's owner for as long as they remember it (net/bridge/br_stp_if.c, ``br_stp_recalculate_bridge_id``).
    """
    # Local, unicast (RFC 7042, section 2.1).
    address = ":".join(f"{part:02x}" for part in (0x02, *os.urandom(5)))
    run(["ip", "-n", netns, "link", "add", name, "address", address, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
    run(["ip", "-n", netns, "link", "set", name, "up"])


def add_veth(netns: str, name: str, peer_netns: str, peer_name: str) -> None:
    """A pair of links, made inside its namespaces: the machine's own network never sees it."""
    run(["ip", "-n", netns, "link", "add", name, "type", "veth", "peer", "name", peer_name, "netns", peer_netns])
    run(["ip", "-n", netns, "link", "set", name, "up"])
    run(["ip", "-n", peer_netns, "link", "set", peer_name, "up"])


def join_bridge(netns: str, name: str, bridge: str) -> None:
    """Makes the link a port of the bridge."""
    run(["ip", "-n", netns, "link", "set", name, "master", bridge])


def add_address(netns: str, name: str, address: str, prefix_length: int) -> None:
    """Gives the link an IPv4 address."""
    run(["ip", "-n", netns, "address", "add", f"{address}/{prefix_length}", "dev", name])


def shape(netns: str, name: str, rate_bytes_per_s: float) -> None:
    """Limits what leaves through the link (tc-tbf(8)); the rate is that of Ethernet frames."""
    burst_bytes = max(_SHORTEST_BURST_BYTES, round(rate_bytes_per_s * _TICK_S))
    rate = f"{round(rate_bytes_per_s * 8)}bit"
    run(["tc", "-n", netns, "qdisc", "replace", "dev", name, "root", "handle", "1:", "tbf",
         "rate", rate, "burst", f"{burst_bytes}b", "latency", f"{_QUEUE_MS}ms"])  # fmt: skip


def add_delay(netns: str, name: str, delay_s: float) -> None:
    """Holds back what leaves through a shaped link (tc-netem(8)); CapabilityError where the kernel has no netem."""
    done = run(["tc", "-n", netns, "qdisc", "add", "dev", name, "parent", "1:1", "netem", "delay", f"{round(delay_s * 1e6)}us"],
               check=False)  # fmt: skip
    if done.exit_code != 0:
        raise CapabilityError(
            "links cannot be delayed here: the kernel has no netem", details=done.stderr.strip(),
            resolution="leave out link_delay, or use a kernel with CONFIG_NET_SCH_NETEM",
        )  # fmt: skip


def add_loss(netns: str, name: str, share: float) -> None:
    """Drops a share of the frames that arrive through a link, at random (nft(8), numgen); CapabilityError where refused."""
    rules = (
        f"table netdev whimbrel {{\n chain {name.replace('-', '_')} {{\n"
        f'  type filter hook ingress device "{name}" priority 0; policy accept;\n'
        f"  numgen random mod 1000000 < {round(share * 1_000_000)} drop\n }}\n}}\n"
    )
    done = run([*inside(netns), "nft", "--file", "-"], stdin=rules, check=False)
    if done.exit_code != 0:
        raise CapabilityError(
            "frames cannot be lost here: the kernel refuses the nft rule", details=done.stderr.strip(),
            resolution="leave out link_loss, or use a kernel with nf_tables' netdev family and numgen",
        )  # fmt: skip
