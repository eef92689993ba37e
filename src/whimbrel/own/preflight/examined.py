"""What is looked at before a guest moves: its description, and both hosts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import cached_property

from whimbrel.engines.libvirt_facts import GuestFacts, HostFacts, Volume


@dataclass(frozen=True)
class ExaminedHost:
    """A side, and what it is called; its owner wants ``spare_memory_bytes`` of it to stay free."""

    name: str
    facts: HostFacts
    spare_memory_bytes: int = 0


@dataclass(frozen=True)
class Looked:
    """What lies at a path on both hosts, None when nothing does; ``unseen`` is why nobody could look, empty otherwise."""

    source: Volume | None
    destination: Volume | None
    unseen: str = ""


@dataclass(frozen=True)
class Examined:
    """A guest and both hosts, as they were seen. ``files`` are its disks by their paths, ``ports`` whose screens the destination
    shows at which port.
    """

    guest: GuestFacts
    source: ExaminedHost
    destination: ExaminedHost
    files: dict[str, Looked] = field(default_factory=dict)
    ports: dict[int, str] = field(default_factory=dict)

    @cached_property
    def root(self) -> ET.Element:
        """Its description as it runs."""
        return ET.fromstring(self.guest.xml)

    @property
    def in_kvm(self) -> bool:
        """Whether it runs on the host's own processor."""
        return self.root.get("type") == "kvm"

    def devices(self, path: str) -> list[ET.Element]:
        """Its devices of a kind, as ``hostdev`` or ``disk/source``."""
        return self.root.findall(f"./devices/{path}")


def memory_bytes(element: ET.Element | None) -> int:
    """What an element with a unit says, as ``<memory unit="KiB">``; 0 of none."""
    if element is None:
        return 0
    return bytes_of(element.text or "0", element.get("unit", "KiB"))


def bytes_of(number: str, unit: str) -> int:
    """A quantity, as libvirt writes it."""
    return int(number) * _UNITS[unit.lower()]


# libvirt.org/formatdomain.html: memory.
_UNITS = {
    "b": 1, "bytes": 1, "kb": 10**3, "k": 2**10, "kib": 2**10, "mb": 10**6, "m": 2**20, "mib": 2**20,
    "gb": 10**9, "g": 2**30, "gib": 2**30, "tb": 10**12, "t": 2**40, "tib": 2**40,
}  # fmt: skip


def numbers_in(text: str) -> set[int]:
    """Reads the numbers of a list such as ``0-3,^2,7``."""
    found: set[int] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        first, _, last = part.removeprefix("^").partition("-")
        numbers = set(range(int(first), int(last or first) + 1))
        found = found - numbers if part.startswith("^") else found | numbers
    return found
