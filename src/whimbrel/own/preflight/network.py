"""What the guest is connected to, and whether the destination has it. Pure."""

from __future__ import annotations

from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.preflight.examined import Examined

# These join a network outside the host; others are each host's own.
_OUTSIDE = ("bridge", "private", "vepa", "passthrough", "hostdev", "open")


def examine_network(it: Examined) -> list[Finding]:
    """Looks at each of its interfaces; what several are connected to is said once."""
    found = []
    for link in it.devices("interface"):
        source = link.find("source")
        if source is None:
            continue
        if link.get("type") == "network":
            found += _network(it, source.get("network", ""))
        elif link.get("type") in ("bridge", "direct") and (name := source.get("bridge") or source.get("dev")):
            found += _link(it, name)
    return list(dict.fromkeys(found))


def _network(it: Examined, name: str) -> list[Finding]:
    there, known = it.destination.name, it.destination.facts.networks
    if known is None:
        return [finding("network-unseen", there, f"libvirt does not list networks; the guest is in {name}", network=name)]
    network = known.get(name)
    if network is None or not network.active:
        seen = f"there is no network {name}" if network is None else f"the network {name} is not started"
        return [finding("network-not-there", there, seen, network=name)]
    if network.forward not in _OUTSIDE:
        return [finding("network-of-its-own", there, f"{name}: {network.forward or 'isolated'}")]
    return []


def _link(it: Examined, name: str) -> list[Finding]:
    there, known, here = it.destination.name, it.destination.facts.links, it.source.facts.links
    if known is not None and name in known:
        seen = f"the guest is connected to {name}, which host {there} has, too"
        return [*_mtu(it, name), finding("segment-unseen", there, seen, link=name)]
    if known is None or here is None or name not in here:
        # A list without the link that the guest uses now is not whole.
        seen = f"libvirt does not list all links; the guest is connected to {name}"
        return [finding("link-unseen", there, seen, link=name)]
    return [finding("link-not-there", there, f"there is no link {name}", link=name)]


def _mtu(it: Examined, name: str) -> list[Finding]:
    sizes = [(side, side.facts.mtus[name]) for side in (it.source, it.destination) if name in side.facts.mtus]
    if len(sizes) < 2 or sizes[0][1] == sizes[1][1]:
        return []
    (small, least), (large, most) = sorted(sizes, key=lambda each: each[1])
    seen = f"{name}: {least} bytes on host {small.name}, {most} on host {large.name}"
    return [finding("mtu-differs", small.name, seen, bridge=name, small=least, large=most)]
