"""Hosts of a user's inventory, tried two at a time before any guest is to move between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from whimbrel.engines.capabilities import Accelerator, machine_of
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import EngineError, RefusedError, UsageError
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.hosts.preflight.machine import Sight, examine_machine
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.own.preflight.trying import try_way
from whimbrel.own.sides import sides_of
from whimbrel.own.standing import Side
from whimbrel.spec.fields import HostName
from whimbrel.spec.inventory import Inventory


@dataclass(frozen=True)
class CheckedWay:
    """From one host to another, with what stands in that way for a guest that has all of its host's processor."""

    source: HostName
    destination: HostName
    findings: tuple[Finding, ...]


def check_hosts(inventory: Inventory, names: Sequence[HostName]) -> Iterator[CheckedWay]:
    """Every way between these hosts, or between all of them; a host of which nothing is known is a UsageError."""
    for name in names:
        inventory.host(name)
    for source, destination in itertools.permutations(names or list(inventory.hosts), 2):
        found = check_way(*sides_of(source, destination, inventory=inventory))
        yield CheckedWay(source, destination, tuple(found))


def check_way(source: Side, destination: Side) -> list[Finding]:
    """What is tried with small guests of ours, and what libvirt compares."""
    with ExitStack() as held:
        hosts: list[Hypervisor] = []
        for side in (source, destination):
            try:
                hosts.append(held.enter_context(side.host.hypervisor()))
            except EngineError as error:
                return [finding("host-silent", side.name, error.details or error.brief)]
        try:
            refuse_one_host(source.host, destination.host)
        except UsageError as error:
            return [finding("one-host", f"{source.name} and {destination.name}", error.brief)]
        accelerator: Accelerator = "kvm" if all(map(_has_kvm, hosts)) else "tcg"
        here, there = (Sight(side.name, host) for side, host in zip((source, destination), hosts, strict=True))
        found = examine_machine(here, there, Wanted(accelerator, ""))
        return [*found, *try_way((source, destination), (hosts[0], hosts[1]), accelerator, post_copy=False)]


def _has_kvm(host: Hypervisor) -> bool:
    try:
        machine_of(host, "kvm")
    except RefusedError:
        return False
    return True
