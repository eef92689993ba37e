"""Processors as libvirt knows them: what KVM on a host can give a guest, and whether a guest finds there what it was given here.

Emulated guests are given what QEMU emulates, which is the same everywhere: only guests in KVM depend on the host's processor.
Format: libvirt.org/formatdomaincaps.html (``host-model``), libvirt.org/formatdomain.html (``cpu``).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any, Literal

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.domain import Domain
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import RefusedError

_ARCH, _MACHINE, _KVM = "x86_64", "pc", "kvm"
# Whatever may be migrated is not given these (QEMU's ``migratable=on``), though libvirt has them in its host-model.
_NOT_GIVEN = ("invtsc",)
_SHOWN = 12
_VERSION = re.compile(r"-v[0-9]+$")


@dataclass(frozen=True)
class HostCpu:
    """What KVM on a host can give a guest that asks for all of it (``host-passthrough``), as libvirt describes it.

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

    ``same``: it is that; ``more``: it has all of it and more; ``less``: it lacks ``lacking``, or what libvirt says in ``said``;
    ``unknown``: the host's libvirt cannot compare.
    """

    result: Literal["same", "more", "less", "unknown"]
    lacking: tuple[str, ...] = ()
    said: str = ""

    @property
    def words(self) -> str:
        """The features that it lacks by name, or else what libvirt says; empty where it lacks nothing."""
        names = ", ".join(self.lacking[:_SHOWN])
        more = f" and {len(self.lacking) - _SHOWN} more" if len(self.lacking) > _SHOWN else ""
        return f"features that it lacks: {names}{more}" if names else self.said


def cpu_of(connection: Connection) -> HostCpu | None:
    """The host's processor, as its QEMU gives it to guests; None where QEMU there has no KVM."""
    raw = connection.raw
    told = _given_by_kvm(raw)
    mode = told.find("./cpu/mode[@name='host-model'][@supported='yes']") if told is not None else None
    if mode is None:
        return None
    model = ET.Element("cpu", mode="custom", match="exact")
    model.extend(each for each in mode if each.get("name") not in _NOT_GIVEN)
    flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    with explained("tell its processor", raw):
        # Of one processor the baseline is itself, with each feature that its model implies.
        description = raw.baselineHypervisorCPU(None, _ARCH, _MACHINE, _KVM, [ET.tostring(model, encoding="unicode")], flags)
        microcode = ET.fromstring(raw.getCapabilities()).find("./host/cpu/microcode")
    return HostCpu(
        model=mode.findtext("model") or "",
        vendor=mode.findtext("vendor"),
        microcode=microcode.get("version") if microcode is not None else None,
        features=_features(description),
        description=description,
    )


def models_of(connection: Connection) -> list[str]:
    """The processors that KVM on this host can give under a name of libvirt's, those without a maker last.

    None where QEMU there has no KVM.
    """
    told = _given_by_kvm(connection.raw)
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


def common_models(one: Connection, other: Connection) -> str:
    """Some that both can give, as words."""
    there = set(models_of(other))
    found = [model for model in models_of(one) if model in there]
    return ", ".join(found[:_SHOWN]) or "libvirt knows none"


def needed_by(domain: Domain, source: Connection) -> str | None:
    """The ``<cpu>`` that a running guest must find wherever it goes; None for an emulated guest, which finds it everywhere."""
    told = ET.fromstring(domain.arriving_description)
    cpu = told.find("cpu")
    if told.get("type") != _KVM or cpu is None:
        return None
    if cpu.get("mode") in ("host-passthrough", "maximum"):
        found = cpu_of(source)
        return found.description if found is not None else None
    return ET.tostring(cpu, encoding="unicode")


def compare(description: str, host: Connection) -> Comparison:
    """Whether KVM on this host can give what ``description`` (a guest's ``<cpu>``) asks for, by libvirt's own comparison."""
    try:
        found = _compare(description, host, 0)
    except RefusedError as error:
        # Also of a feature that is newer than its libvirt, which it does not know.
        able = error.number != libvirt.VIR_ERR_NO_SUPPORT
        return Comparison("less" if able else "unknown", said=error.details)
    if found == libvirt.VIR_CPU_COMPARE_IDENTICAL:
        return Comparison("same")
    if found == libvirt.VIR_CPU_COMPARE_SUPERSET:
        return Comparison("more")
    here = cpu_of(host)
    lacking = _features(description) - here.features if here is not None else frozenset()
    return Comparison("less", tuple(sorted(lacking)), _why(description, host))


def _given_by_kvm(raw: Any) -> ET.Element | None:
    """What libvirt says that guests in KVM can have (virConnectGetDomainCapabilities)."""
    try:
        with explained("tell what KVM gives to guests", raw):
            return ET.fromstring(raw.getDomainCapabilities(None, _ARCH, _MACHINE, _KVM, 0))
    except RefusedError:
        return None


def _compare(description: str, host: Connection, flags: int) -> int:
    with explained("compare processors", host.raw):
        return int(host.raw.compareHypervisorCPU(None, _ARCH, _MACHINE, _KVM, description, flags))


def _why(description: str, host: Connection) -> str:
    """libvirt's own words for what does not fit."""
    try:
        _compare(description, host, libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
    except RefusedError as error:
        return error.details
    return ""


def _features(description: str) -> frozenset[str]:
    found = ET.fromstring(description).findall("feature")
    return frozenset(each.get("name", "") for each in found if each.get("policy") not in ("disable", "forbid"))
