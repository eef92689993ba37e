"""The machine that the guest is, against what the destination has: firmware, clock, memory, processors. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.preflight.examined import Examined, bytes_of, memory_bytes, numbers_in
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES
from whimbrel.units import format_bytes

_MIB = 2**20


def examine_machine(it: Examined) -> list[Finding]:
    """All of it but the processor's features, the machine type and the emulator, which libvirt itself compares."""
    return [
        *_versions(it), *_firmware(it), *_clock(it), *_nested(it), *_memory(it), *_huge_pages(it), *_pinning(it), *_vcpus(it),
    ]  # fmt: skip


def _versions(it: Examined) -> list[Finding]:
    """Newer programs read what older ones wrote, not the reverse."""
    here, there = it.source.facts.versions, it.destination.facts.versions
    return [
        finding(code, it.destination.name, f"{_dotted(there[program])}; host {it.source.name} has {_dotted(here[program])}",
                newer=it.source.name)
        for program, code in (("qemu", "older-qemu"), ("libvirt", "older-libvirt"))
        if there[program] < here[program]
    ]  # fmt: skip


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _firmware(it: Examined) -> list[Finding]:
    path = it.root.findtext("./os/loader")
    if not path:
        return []
    here, there = it.source.facts.firmware, it.destination.facts.firmware
    if there is not None and path in there:
        return []
    if here is not None and there is not None and path in here:
        return [
            finding(
                "firmware-missing", it.destination.name, f"{path} is not among {', '.join(sorted(there)) or 'none'}", path=path
            )
        ]
    return [finding("firmware-unseen", it.destination.name, f"libvirt names no {path}", path=path)]


def _clock(it: Examined) -> list[Finding]:
    invariant = any(
        each.get("name") == "invtsc" and each.get("policy") in ("require", "force") for each in it.root.findall("./cpu/feature")
    )
    frequencies = [each.get("frequency") for each in it.root.findall("./clock/timer[@name='tsc']")]
    if invariant and not any(frequencies):
        return [finding("tsc-invariant", it.source.name, "the feature invtsc is required, and no frequency given")]
    return [finding("tsc-frequency", it.destination.name, f"{each} Hz") for each in frequencies if each]


def _nested(it: Examined) -> list[Finding]:
    named = [
        each.get("name", "") for each in it.root.findall("./cpu/feature")
        if each.get("name") in ("vmx", "svm") and each.get("policy") in ("require", "force")
    ]  # fmt: skip
    return [finding("nested-virtualization", it.source.name, f"the feature {name} is required") for name in named if it.in_kvm]


def _memory(it: Examined) -> list[Finding]:
    if it.root.find("./memoryBacking/hugepages") is not None:
        return []
    spare = it.destination.spare_memory_bytes
    wanted = memory_bytes(it.root.find("./memory")) + QEMU_OVERHEAD_BYTES + spare
    there, free = it.destination.name, it.destination.facts.memory
    most, sure = format_bytes(free.free_at_most_bytes), format_bytes(free.free_for_sure_bytes)
    kept = f" and {format_bytes(spare)} that are to stay free" if spare else ""
    seen = f"{format_bytes(wanted)} with QEMU's own{kept}; of {format_bytes(free.total_bytes)} there are free"
    if wanted > free.free_at_most_bytes:
        return [finding("memory-short", there, f"{seen} at most {most}")]
    if wanted > free.free_for_sure_bytes:
        return [finding("memory-uncertain", there, f"{seen} {sure} for sure, {most} at most")]
    return []


def _huge_pages(it: Examined) -> list[Finding]:
    backing = it.root.find("./memoryBacking/hugepages")
    if backing is None:
        return []
    free = it.destination.facts.free_huge_pages
    page = backing.find("page")
    # Without a size it is the host's usual one, the smallest.
    size = min(free, default=2 * _MIB)
    if page is not None and page.get("size"):
        size = bytes_of(page.get("size", "0"), page.get("unit", "KiB"))
    needed = -(-memory_bytes(it.root.find("./memory")) // size)
    if free.get(size, 0) >= needed:
        return []
    return [finding("huge-pages-missing", it.destination.name, f"{free.get(size, 0)} of {needed} are free", needed=needed,
                    size=format_bytes(size), free=free.get(size, 0))]  # fmt: skip


def _pinning(it: Examined) -> list[Finding]:
    facts, found = it.destination.facts, []
    pinned = {
        number
        for path in ("vcpupin", "emulatorpin", "iothreadpin")
        for each in it.root.findall(f"./cputune/{path}")
        for number in numbers_in(each.get("cpuset", ""))
    }
    pinned |= {number for each in it.root.findall("./vcpu") for number in numbers_in(each.get("cpuset", ""))}
    bound = {
        number
        for path in ("memory", "memnode")
        for each in it.root.findall(f"./numatune/{path}")
        for number in numbers_in(each.get("nodeset", ""))
    }
    there = it.destination.name
    if missing := pinned - facts.cpus:
        seen = f"pinned to {_listed(pinned)}, and there are {_listed(facts.cpus)}"
        found.append(finding("cpus-pinned-away", there, seen, cpus=_listed(missing)))
    if absent := bound - facts.numa_nodes:
        seen = f"bound to {_listed(bound)}, and there are {_listed(facts.numa_nodes)}"
        found.append(finding("numa-missing", there, seen, nodes=_listed(absent)))
    return found


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _vcpus(it: Examined) -> list[Finding]:
    has = int(it.root.findtext("./vcpu") or 1)
    there = len(it.destination.facts.cpus)
    return [finding("vcpus-many", it.destination.name, f"{has}, and there are {there}")] if has > there else []
