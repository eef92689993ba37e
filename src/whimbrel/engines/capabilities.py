"""What a host's libvirt says of the machines that its QEMU can be: emulator, machine type and processor (domain capabilities).

Format: libvirt.org/formatdomaincaps.html, libvirt.org/formatcaps.html.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Literal

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import RefusedError

# What our guests are. libvirt makes of the alias the newest machine type that its QEMU has.
ARCHITECTURE = "x86_64"
MACHINE = "pc"


Accelerator = Literal["kvm", "tcg"]


def kind_of(accelerator: Accelerator) -> str:
    """libvirt's word for a domain of this accelerator."""
    return "kvm" if accelerator == "kvm" else "qemu"


@dataclass(frozen=True)
class Machine:
    """A kind of machine on a host; ``type`` is the machine type's full name, ``cpu_model`` libvirt's description of the CPU.

    ``cpu_model`` is None where libvirt knows no model that a guest could have.
    """

    emulator: str
    type: str
    cpu_model: str | None


def machine_of(
    connection: Connection, accelerator: Accelerator, emulator: str | None = None, machine: str | None = MACHINE
) -> Machine:
    """What a guest would get there. None stands for what that host takes by itself; RefusedError when it has no such thing."""
    kind = kind_of(accelerator)
    with explained(f"tell what {emulator or 'its QEMU'} can be ({machine or 'any machine'}, {kind})", connection.raw):
        found = ET.fromstring(connection.raw.getDomainCapabilities(emulator, ARCHITECTURE, machine, kind, 0))
    return Machine(found.findtext("./path", ""), found.findtext("./machine", ""), _model(found))


def _model(capabilities: ET.Element) -> str | None:
    """libvirt's host-model: all that the host's QEMU can give, in words that another host can compare itself with."""
    mode = capabilities.find("./cpu/mode[@name='host-model']")
    if mode is None or mode.get("supported") != "yes":
        return None
    cpu = ET.Element("cpu", mode="custom", match="exact")
    cpu.extend(list(mode))
    return ET.tostring(cpu, encoding="unicode")


def lacking_in_cpu(connection: Connection, accelerator: Accelerator, model: str) -> str | None:
    """What a host's CPU lacks of a model that another host gave, in libvirt's words; None when it lacks nothing."""
    kind = kind_of(accelerator)
    try:
        with explained("compare processors", connection.raw):
            connection.raw.compareHypervisorCPU(
                None, ARCHITECTURE, MACHINE, kind, model, libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
            )
    except RefusedError as error:
        if error.number != libvirt.VIR_ERR_CPU_INCOMPATIBLE:
            raise
        return error.details
    return None


def processor(connection: Connection) -> dict[str, str]:
    """Which processor the host has: vendor, signature and microcode, as far as libvirt says."""
    with explained("tell its processor", connection.raw):
        cpu = ET.fromstring(connection.raw.getCapabilities()).find("./host/cpu")
    if cpu is None:
        return {}
    found = {"vendor": cpu.findtext("./vendor", "")}
    for part, names in (("signature", ("family", "model", "stepping")), ("microcode", ("version",))):
        element = cpu.find(part)
        found |= {} if element is None else {f"{part} {name}": element.get(name, "") for name in names}
    return {name: value for name, value in found.items() if value}
