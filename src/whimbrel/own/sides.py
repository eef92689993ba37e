"""From two URIs to two hosts: what they are called, how the source reaches the destination, and where memory is sent."""

from __future__ import annotations

import re

from whimbrel.errors import UsageError
from whimbrel.own.standing import Side
from whimbrel.spec.inventory import Inventory, InventoryHost, load_inventory
from whimbrel.spec.libvirt_uri import UriParts, is_address, is_loopback, split_libvirt_uri

# As hosts are called in records (``spec.fields.HostName``).
_NAME = re.compile(r"[a-z][a-z0-9-]{0,10}")


def sides_of(
    source: str, destination: str, peer: str | None = None, address: str | None = None, inventory: Inventory | None = None
) -> tuple[Side, Side]:
    """Source and destination, each a URI, or a name of the inventory (that of the usual file, where none is given).

    ``peer`` is how the source's libvirt reaches the destination's, and ``address`` where memory is sent. Where not given,
    as the inventory says, or as we reach it, and to the host in that. UsageError for what cannot be.
    """
    if "://" not in source or "://" not in destination:
        return _by_name(source, destination, peer, address, inventory or load_inventory(None))
    here, there = _parts("--from", source), _parts("--to", destination)
    if peer is None and there.local:
        raise UsageError(
            f"--to {destination} means the machine that opens it, and the source's libvirt is to open it, too",
            resolution="give --peer as well: how the source reaches it, such as qemu+ssh://two.example/system",
        )
    reached = there if peer is None else _parts("--peer", peer)
    if peer is not None and reached.local:
        raise UsageError(f"--peer {peer} means the machine that opens it, which is the source")
    where = address or reached.host
    if is_loopback(where):
        raise UsageError(f"--address {where} means the machine that uses it, which is the source")
    names = _names(here, reached)
    return Side(name=names[0], uri=source, address=here.host or "localhost"), Side(
        name=names[1], uri=destination, address=where, peer_uri=peer
    )


def _by_name(source: str, destination: str, peer: str | None, address: str | None, inventory: Inventory) -> tuple[Side, Side]:
    """Each by its name, or by the URI that it has there; both have to be in it, so that one is not two."""
    names = []
    for given in (source, destination):
        found = next((name for name, host in inventory.hosts.items() if given in (name, host.libvirt)), given)
        inventory.host(found)
        names.append(found)
    if names[0] == names[1]:
        raise UsageError(f"a guest cannot move from host {names[0]} to where it is")
    here, there = (_side(name, inventory.host(name)) for name in names)
    more = {key: value for key, value in (("peer_uri", peer), ("address", address)) if value is not None}
    return here, there.model_copy(update=more)


def _side(name: str, host: InventoryHost) -> Side:
    return Side(
        name=name, uri=host.libvirt, address=host.address, peer_uri=host.peer_libvirt, certificate_name=host.certificate_name,
        link_rate_bytes_per_s=host.link_rate_bytes_per_s, most_bandwidth_bytes_per_s=host.most_bandwidth_bytes_per_s,
        spare_memory_bytes=host.spare_memory_bytes,
    )  # fmt: skip


def side_of(given: str, inventory: Inventory | None = None) -> Side:
    """One host, by its URI or its name, for what asks it alone."""
    if "://" not in given:
        return _side(given, (inventory or load_inventory(None)).host(given))
    parts = _parts("--from", given)
    return Side(name=_name(parts) or "source", uri=given, address=parts.host or "localhost")


def _parts(option: str, uri: str) -> UriParts:
    try:
        return split_libvirt_uri(uri)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def _names(here: UriParts, there: UriParts) -> tuple[str, str]:
    """The first part of each host's name, where that tells them apart."""
    found = tuple(_name(part) for part in (here, there))
    if found[0] is None or found[1] is None or found[0] == found[1]:
        return "source", "destination"
    return found[0], found[1]


def _name(part: UriParts) -> str | None:
    if part.local:
        return "here"
    name = part.host.lower().partition(".")[0]
    return name if not is_address(part.host) and _NAME.fullmatch(name) else None
