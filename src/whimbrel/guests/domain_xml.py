"""A guest's libvirt description, from what the guest is given, and with its disk elsewhere. Pure.

Format: libvirt.org/formatdomain.html.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Literal

from whimbrel.engines.cpus import named
from whimbrel.errors import GuestError
from whimbrel.hosts.site import Accelerator


@dataclass(frozen=True)
class Disk:
    """A block device; ``path`` is as the host sees it."""

    path: str
    target: str
    format: Literal["raw", "qcow2"]
    readonly: bool = False


@dataclass(frozen=True)
class DomainPlan:
    """Everything that a guest's description says. Without a kernel it boots from its first disk."""

    name: str
    uuid: str
    accelerator: Accelerator
    memory_bytes: int
    vcpus: int
    kernel: str | None
    initrd: str | None
    kernel_options: tuple[str, ...]
    mac: str
    bridge: str
    console_log: str
    emulator: str
    disks: tuple[Disk, ...] = field(default=())
    cpu_model: str | None = None


def domain_xml(plan: DomainPlan) -> str:
    """The description as text."""
    kvm = plan.accelerator == "kvm"
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", plan.name)
    _text(domain, "uuid", plan.uuid)
    _text(domain, "memory", str(plan.memory_bytes // 1024), unit="KiB")
    _text(domain, "vcpu", str(plan.vcpus))
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    if plan.kernel is not None and plan.initrd is not None:
        _text(system, "kernel", plan.kernel)
        _text(system, "initrd", plan.initrd)
        _text(system, "cmdline", " ".join(plan.kernel_options))
    else:
        ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    _cpu(domain, plan.cpu_model if kvm else None, kvm)
    ET.SubElement(domain, "clock", offset="utc")
    # A guest that ends stays ended: a trial must see it, not a fresh boot.
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _text(domain, event, "destroy")
    _devices(ET.SubElement(domain, "devices"), plan)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def _cpu(domain: ET.Element, model: str | None, kvm: bool) -> None:
    """Emulation offers what it can emulate; KVM what the CPU has and can be migrated, or the processor of this name."""
    if model is None:
        ET.SubElement(domain, "cpu", mode="host-passthrough" if kvm else "maximum", migratable="on")
        return
    domain.append(ET.fromstring(named(model)))


def _devices(devices: ET.Element, plan: DomainPlan) -> None:
    _text(devices, "emulator", plan.emulator)
    for disk in plan.disks:
        element = ET.SubElement(devices, "disk", type="file", device="disk")
        # Direct I/O: what one host wrote, the other reads, without either's page cache in between.
        cache: dict[str, str] = {} if disk.readonly else {"cache": "none"}
        ET.SubElement(element, "driver", {"name": "qemu", "type": disk.format, **cache})
        ET.SubElement(element, "source", file=disk.path)
        ET.SubElement(element, "target", dev=disk.target, bus="virtio")
        if disk.readonly:
            ET.SubElement(element, "readonly")
    interface = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(interface, "mac", address=plan.mac)
    ET.SubElement(interface, "source", bridge=plan.bridge)
    ET.SubElement(interface, "model", type="virtio")
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=plan.console_log, append="on")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    # By it a guest says that it panics. Without it one that has panicked only falls silent, and libvirt says that it runs.
    ET.SubElement(devices, "panic", model="isa")


def with_disk_at(description: str, path: str, new_path: str) -> str:
    """The description, but with the disk that lies at ``path`` at another; GuestError when there is none."""
    domain = ET.fromstring(description)
    source = _disk_at(domain, path).find("source")
    assert source is not None
    source.set("file", new_path)
    return ET.tostring(domain, encoding="unicode")


def kept_when_it_crashes(description: str) -> str:
    """The description, but with a guest that panics left as it is then, to be looked at."""
    domain = ET.fromstring(description)
    on_crash = domain.find("on_crash")
    assert on_crash is not None
    on_crash.text = "preserve"
    return ET.tostring(domain, encoding="unicode")


def with_backing_left_open(description: str, path: str) -> str:
    """The description, but what the disk at ``path`` lies over is left to be read from its image; GuestError when there is none.

    A running guest's description names it, and would impose it on an image elsewhere that lies over nothing.
    """
    domain = ET.fromstring(description)
    disk = _disk_at(domain, path)
    for below in disk.findall("backingStore"):
        disk.remove(below)
    return ET.tostring(domain, encoding="unicode")


def _disk_at(domain: ET.Element, path: str) -> ET.Element:
    for disk in domain.findall("devices/disk"):
        source = disk.find("source")
        if source is not None and source.get("file") == path:
            return disk
    raise GuestError(f"the guest's description has no disk at {path}", resolution="remove its saved state and run again")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
