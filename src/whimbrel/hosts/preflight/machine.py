"""The machine that a guest is: accelerator, emulator, machine type, processor and versions, compared between two hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from whimbrel.engines.capabilities import Accelerator, Machine, machine_of
from whimbrel.engines.cpus import Comparison, compare, cpu_of, model_of, named
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import RefusedError
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.spec.fields import HostName


@dataclass(frozen=True)
class Sight:
    """A host as its libvirt shows it, under its name in the file."""

    name: HostName
    connection: Hypervisor


def examine_machine(a: Sight, b: Sight, wanted: Wanted) -> list[Finding]:
    """What a guest that is started on ``a`` would find amiss on ``b``, and on its way back."""
    accelerator = wanted.accelerator
    findings = _versions(a, b)
    machines: dict[str, Machine] = {}
    for host in (a, b):
        try:
            machines[host.name] = machine_of(host.connection, accelerator)
        except RefusedError as error:
            findings.append(finding("no-accelerator", host.name, error.details or error.brief, accelerator=accelerator))
    if len(machines) == 2:
        findings += _started_elsewhere(machines[a.name], b, accelerator)
    if wanted.cpu_model is not None:
        return findings + [found for host in (a, b) if host.name in machines for found in _named_cpu(wanted.cpu_model, host)]
    if len(machines) == 2:
        for first, other in ((a, b), (b, a)):
            findings += _all_of_cpu(first, other, accelerator)
    if accelerator == "kvm":
        findings += _processors(a, b)
    return findings


def _named_cpu(model: str, host: Sight) -> list[Finding]:
    """Whether KVM there can give the processor that the file names."""
    return _of_cpu(compare(named(model), host.connection), host, "cpu-model-missing", model=model)


def _all_of_cpu(first: Sight, other: Sight, accelerator: Accelerator) -> list[Finding]:
    """Whether a guest that was given all of one host's processor finds it on the other."""
    given = cpu_of(first.connection, accelerator)
    if given is None:
        return [finding("cpu-unseen", first.name, "libvirt names no model for what guests get there")]
    found = compare(given.description, other.connection, accelerator)
    return _of_cpu(found, other, "cpu-lacks-features", first=first.name)


def _of_cpu(found: Comparison, host: Sight, code: str, **words: Any) -> list[Finding]:
    if found.result == "unknown":
        return [finding("cpu-unseen", host.name, found.words)]
    return [finding(code, host.name, found.words, **words)] if found.result == "less" else []


def _versions(a: Sight, b: Sight) -> list[Finding]:
    """A move to something older is what nobody tests: newer QEMU and libvirt read what older ones wrote, not the reverse."""
    found = {host.name: host.connection.versions() for host in (a, b)}
    findings = []
    for program, code in (("qemu", "older-qemu"), ("libvirt", "older-libvirt")):
        versions = {name: tuple(int(part) for part in each[program].split(".")) for name, each in found.items()}
        if versions[a.name] != versions[b.name]:
            older, newer = sorted((a, b), key=lambda host: versions[host.name])
            seen = f"{found[older.name][program]}; host {newer.name} has {found[newer.name][program]}"
            findings.append(finding(code, older.name, seen, newer=newer.name))
    return findings


def _started_elsewhere(machine: Machine, there: Sight, accelerator: Accelerator) -> list[Finding]:
    """Emulator and machine type go with a guest to wherever it moves."""
    asked = partial(machine_of, there.connection, accelerator)
    findings = []
    emulator: str | None = machine.emulator
    if (why := _refused(lambda: asked(emulator, None))) is not None:
        findings.append(finding("emulator-missing", there.name, f"{machine.emulator}: {why}", path=machine.emulator))
        emulator = None
    if (why := _refused(lambda: asked(emulator, machine.type))) is not None:
        findings.append(
            finding("machine-type-missing", there.name, f"{machine.type}: {why}", type=machine.type, path=machine.emulator)
        )
    return findings


def _refused(ask: Callable[[], object]) -> str | None:
    """Why the answer was no; None when it was not."""
    try:
        ask()
    except RefusedError as error:
        return error.details or error.brief
    return None


def _processors(a: Sight, b: Sight) -> list[Finding]:
    """KVM hands the processor on as it is (host-passthrough), with what libvirt has no name for."""
    found = {host.name: model_of(host.connection) for host in (a, b)}
    differ = [
        f"{name}: {found[a.name].get(name, 'not said')} and {found[b.name].get(name, 'not said')}"
        for name in {**found[a.name], **found[b.name]}
        if found[a.name].get(name) != found[b.name].get(name)
    ]
    return [finding("cpu-differs", f"{a.name} and {b.name}", "; ".join(differ))] if differ else []
