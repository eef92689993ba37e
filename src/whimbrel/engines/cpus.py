"""Processors as libvirt knows them: what a host can give a guest, and whether a guest finds there what it was given here.

Guests in KVM depend on the host's processor. Emulated ones are given what QEMU emulates, which only another QEMU gives otherwise:
doctor compares that too, but no single move asks for it.
Format: libvirt.org/formatdomaincaps.html (``host-model``), libvirt.org/formatdomain.html (``cpu``).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any, Literal

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.capabilities import ARCHITECTURE, MACHINE, Accelerator, kind_of
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import RefusedError

_KVM = kind_of("kvm")
# Whatever may be migrated is not given these (QEMU's ``migratable=on``), though libvirt has them in its host-model.
_NOT_GIVEN = ("invtsc",)
_SHOWN = 12
_VERSION = re.compile(r"-v[0-9]+$")


@dataclass(frozen=True)
class HostCpu:
    """What a host can give a guest that asks for all of it (``host-passthrough``, ``maximum``), as libvirt describes it.

    ``features`` has those that its ``model`` implies; ``description`` is a guest's ``<cpu>`` with the same.
    """

    model: str
    vendor: str | None
    microcode: str | None
    features: frozenset[str]
    description: str


@dataclass(frozen=True)
class Comparison:
    """How a host's processor compares to what a guest was given.

    ``enough``: it has all of it, and maybe more; ``less``: it lacks ``lacking``, or what libvirt says in ``said``;
    ``unknown``: the host's libvirt cannot compare.
    """

    result: Literal["enough", "less", "unknown"]
    lacking: tuple[str, ...] = ()
    said: str = ""

    @property
    def words(self) -> str:
        """The features that it lacks by name, or else what libvirt says; empty where it lacks nothing."""
        names = ", ".join(self.lacking[:_SHOWN])
        more = f" and {len(self.lacking) - _SHOWN} more" if len(self.lacking) > _SHOWN else ""
        return f"features that it lacks: {names}{more}" if names else self.said


def cpu_of(connection: Hypervisor, accelerator: Accelerator = "kvm") -> HostCpu | None:
    """The host's processor, as its QEMU gives it to guests; None where it has no such accelerator, or libvirt no name for it."""
    raw = connection.raw
    told = _given(raw, accelerator)
    mode = told.find("./cpu/mode[@name='host-model'][@supported='yes']") if told is not None else None
    if mode is None:
        return None
    model = ET.Element("cpu", mode="custom", match="exact")
    model.extend(each for each in mode if each.get("name") not in _NOT_GIVEN)
    flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    with explained("tell its processor", raw):
        # Of one processor the baseline is itself, with each feature that its model implies.
        description = raw.baselineHypervisorCPU(*_machine(accelerator), [ET.tostring(model, encoding="unicode")], flags)
        microcode = ET.fromstring(raw.getCapabilities()).find("./host/cpu/microcode")
    return HostCpu(
        model=mode.findtext("model") or "",
        vendor=mode.findtext("vendor"),
        microcode=microcode.get("version") if microcode is not None else None,
        features=_features(description),
        description=description,
    )


def models_of(connection: Hypervisor) -> list[str]:
    """The processors that KVM on this host can give under a name of libvirt's, those without a maker last.

    None where QEMU there has no KVM.
    """
    told = _given(connection.raw, "kvm")
    if told is None:
        return []
    usable = told.findall("./cpu/mode[@name='custom']/model[@usable='yes']")
    found = sorted((each.get("vendor") in (None, "unknown"), each.text or "") for each in usable)
    return [name for _, name in found if not _VERSION.search(name)]


def named(model: str) -> str:
    """A guest's ``<cpu>`` of this name."""
    cpu = ET.Element("cpu", mode="custom", match="exact", check="partial")
    ET.SubElement(cpu, "model", fallback="forbid").text = model
    return ET.tostring(cpu, encoding="unicode")


def common_models(one: Hypervisor, other: Hypervisor) -> str:
    """Some that both can give, as words."""
    there = set(models_of(other))
    found = [model for model in models_of(one) if model in there]
    return ", ".join(found[:_SHOWN]) or "libvirt knows none"


def needed_by(guest: Guest, source: Hypervisor) -> str | None:
    """The ``<cpu>`` that a running guest must find wherever it goes; None for an emulated guest, which finds it everywhere."""
    told = ET.fromstring(guest.arriving_description)
    cpu = told.find("cpu")
    if told.get("type") != _KVM or cpu is None:
        return None
    if cpu.get("mode") in ("host-passthrough", "maximum"):
        found = cpu_of(source)
        return found.description if found is not None else None
    return ET.tostring(cpu, encoding="unicode")


def compare(description: str, host: Hypervisor, accelerator: Accelerator = "kvm") -> Comparison:
    """Whether a host can give what ``description`` (a guest's ``<cpu>``) asks for, by libvirt's own comparison."""
    try:
        found = _compare(description, host, accelerator, 0)
    except RefusedError as error:
        # Also of a feature or model that is newer than its libvirt, which it does not know.
        less = error.number in (
            libvirt.VIR_ERR_CPU_INCOMPATIBLE,
            libvirt.VIR_ERR_INTERNAL_ERROR,
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        )
        return Comparison("less" if less else "unknown", said=error.details)
    if found in (libvirt.VIR_CPU_COMPARE_IDENTICAL, libvirt.VIR_CPU_COMPARE_SUPERSET):
        return Comparison("enough")
    here = cpu_of(host, accelerator)
    lacking = _features(description) - here.features if here is not None else frozenset()
    return Comparison("less", tuple(sorted(lacking)), _why(description, host, accelerator))


def model_of(connection: Hypervisor) -> dict[str, str]:
    """Which processor the machine itself has: vendor, signature and microcode, as far as libvirt says."""
    with explained("tell its processor", connection.raw):
        cpu = ET.fromstring(connection.raw.getCapabilities()).find("./host/cpu")
    if cpu is None:
        return {}
    found = {"vendor": cpu.findtext("./vendor", "")}
    for part, names in (("signature", ("family", "model", "stepping")), ("microcode", ("version",))):
        element = cpu.find(part)
        found |= {} if element is None else {f"{part} {name}": element.get(name, "") for name in names}
    return {name: value for name, value in found.items() if value}


def _machine(accelerator: Accelerator) -> tuple[str | None, str, str, str]:
    """What libvirt is asked about: the emulator that the host takes by itself, and such machines as ours are."""
    return None, ARCHITECTURE, MACHINE, kind_of(accelerator)


def _given(raw: Any, accelerator: Accelerator) -> ET.Element | None:
    """What libvirt says that guests can have there (virConnectGetDomainCapabilities)."""
    try:
        with explained("tell what its QEMU gives to guests", raw):
            return ET.fromstring(raw.getDomainCapabilities(*_machine(accelerator), 0))
    except RefusedError:
        return None


def _compare(description: str, host: Hypervisor, accelerator: Accelerator, flags: int) -> int:
    with explained("compare processors", host.raw):
        return int(host.raw.compareHypervisorCPU(*_machine(accelerator), description, flags))


def _why(description: str, host: Hypervisor, accelerator: Accelerator) -> str:
    """libvirt's own words for what does not fit."""
    try:
        _compare(description, host, accelerator, libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
    except RefusedError as error:
        return error.details
    return ""


def _features(description: str) -> frozenset[str]:
    found = ET.fromstring(description).findall("feature")
    return frozenset(each.get("name", "") for each in found if each.get("policy") not in ("disable", "forbid"))
