"""Links between network namespaces: veth pairs, bridges, addresses, and the rate a link is shaped to."""

from __future__ import annotations

from whimbrel.system.process import run

# tc-tbf(8): the burst must hold at least one timer tick at the full rate, and a 64 KiB segment of the veth's GSO.
_SHORTEST_BURST_BYTES = 256 * 1024
_TICK_S = 0.004
_QUEUE_MS = 50


def add_bridge(netns: str, name: str) -> None:
    """A bridge without spanning tree, so that a port forwards at once."""
    run(["ip", "-n", netns, "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
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
    run(["tc", "-n", netns, "qdisc", "replace", "dev", name, "root", "tbf", "rate", rate, "burst", f"{burst_bytes}b",
         "latency", f"{_QUEUE_MS}ms"])  # fmt: skip
