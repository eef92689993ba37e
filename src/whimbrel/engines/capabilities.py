"""What a host's libvirt says of the machines that its QEMU can be: emulator and machine type. Processors: ``engines.cpus``.

Format: libvirt.org/formatdomaincaps.html.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Literal

from whimbrel.engines.binding import explained
from whimbrel.engines.hypervisor import Hypervisor

# What our guests are. libvirt makes of the alias the newest machine type that its QEMU has.
ARCHITECTURE = "x86_64"
MACHINE = "pc"


Accelerator = Literal["kvm", "tcg"]


def kind_of(accelerator: Accelerator) -> str:
    """libvirt's word for a domain of this accelerator."""
    return "kvm" if accelerator == "kvm" else "qemu"


@dataclass(frozen=True)
class Machine:
    """A kind of machine on a host; ``type`` is the machine type's full name."""

    emulator: str
    type: str


def machine_of(
    connection: Hypervisor, accelerator: Accelerator, emulator: str | None = None, machine: str | None = MACHINE
) -> Machine:
    """What a guest would get there. None stands for what that host takes by itself; RefusedError when it has no such thing."""
    kind = kind_of(accelerator)
    with explained(f"tell what {emulator or 'its QEMU'} can be ({machine or 'any machine'}, {kind})", connection.raw):
        found = ET.fromstring(connection.raw.getDomainCapabilities(emulator, ARCHITECTURE, machine, kind, 0))
    return Machine(found.findtext("./path", ""), found.findtext("./machine", ""))
