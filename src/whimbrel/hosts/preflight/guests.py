"""Two small guests of our own with which hosts are tried: without a disk, never executing, and gone at the end.

They are held as all that we put on hosts of others: listed in a ledger before they are there, under a claim that others see,
named and asked for by UUIDs of our own. After a kill ``whimbrel gc`` finds that ledger.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from whimbrel.engines.capabilities import ARCHITECTURE, Machine, kind_of
from whimbrel.engines.cpus import named
from whimbrel.hosts.claims import Claims, confirm
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.hosts.remote import hosts_ledger, list_guests, owner_of
from whimbrel.hosts.remote_files import SharedStorage
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import HostsSpec
from whimbrel.system.capabilities import TURN_S
from whimbrel.system.ledger import Ledger

# Two hosts of a file.
Pair: TypeAlias = tuple[HostName, HostName]

# Enough for the firmware, which never runs.
_MEMORY_KIB = 64 * 1024


def probe_ledger(spec: HostsSpec) -> Ledger:
    """The ledger of what is put on the hosts only to try them; what is deployed there has one of its own."""
    return Ledger(f"probe-{spec.name}", TURN_S)


@contextmanager
def held_guests(spec: HostsSpec, pair: Pair, ledger: Ledger) -> Iterator[dict[HostName, GuestIdentity]]:
    """Who the guest that starts on each of two hosts will be; what there is of them goes at the end, by its ``probe_ledger``.

    UsageError when somebody uses the hosts, also a campaign of ours: a move beside it would spoil what it measures.
    """
    owner = owner_of(spec)
    address = spec.guest_address.partition("/")[0]
    guests = {name: owner.identity(f"probe-{name}", address) for name in pair}
    with hosts_ledger(spec.name) as site, ledger:
        ledger.undo_all()
        try:
            if any(entry.kind == "claim" for entry in site.entries):
                confirm(site)
            else:
                Claims(spec, SharedStorage(spec, ledger, owner.label), ledger).take(list(guests.values()), take_over=False)
            list_guests({name: spec.servers[name].libvirt for name in pair}, list(guests.values()), ledger)
            yield guests
        finally:
            ledger.undo_all()


def guest_xml(guest: GuestIdentity, wanted: Wanted, machine: Machine, on_bridge: bool) -> str:
    """A guest like those of the file, as far as hosts may refuse it: accelerator, machine, processor and bridge."""
    domain = ET.Element("domain", type=kind_of(wanted.accelerator))
    for tag, text in (("name", guest.name), ("uuid", guest.uuid), ("memory", str(_MEMORY_KIB))):
        ET.SubElement(domain, tag).text = text
    kind = ET.SubElement(ET.SubElement(domain, "os"), "type", arch=ARCHITECTURE, machine=machine.type)
    kind.text = "hvm"
    ET.SubElement(ET.SubElement(domain, "features"), "acpi")
    if wanted.cpu_model is not None:
        domain.append(ET.fromstring(named(wanted.cpu_model)))
    else:
        ET.SubElement(domain, "cpu", mode="host-passthrough" if wanted.accelerator == "kvm" else "maximum", migratable="on")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        ET.SubElement(domain, event).text = "destroy"
    devices = ET.SubElement(domain, "devices")
    ET.SubElement(devices, "emulator").text = machine.emulator
    if on_bridge:
        interface = ET.SubElement(devices, "interface", type="bridge")
        ET.SubElement(interface, "mac", address=guest.mac)
        ET.SubElement(interface, "source", bridge=wanted.bridge)
        ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")
