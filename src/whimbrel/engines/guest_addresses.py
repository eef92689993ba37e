"""Where a guest is in its network, as far as its libvirt knows."""

from __future__ import annotations

import ipaddress

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.domain import qemu_of
from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import RefusedError


def addresses_of(guest: Guest) -> list[str]:
    """Its addresses, as the first says that knows any: its agent, leases of libvirt's own networks, or the host's ARP table.

    Those that mean the guest itself, or its link alone, are left out.
    """
    raw = qemu_of(guest).raw
    for source in (
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
    ):  # fmt: skip
        try:
            with explained("say where it is", raw.connect(), raw):
                told = raw.interfaceAddresses(source, 0)
        except RefusedError:
            continue
        found = [each["addr"] for link in told.values() for each in link.get("addrs") or () if _of_use(each["addr"])]
        if found:
            return list(dict.fromkeys(found))
    return []


def _of_use(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
