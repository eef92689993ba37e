"""Hosts of a user's inventory and their guests, asked all at the same time: one that is slow holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.engines.libvirt_facts import ListedGuest, list_guests, processors
from whimbrel.errors import EngineError
from whimbrel.spec.fields import HostName
from whimbrel.spec.inventory import Inventory, InventoryHost

T = TypeVar("T")
_AT_A_TIME = 32


@dataclass(frozen=True)
class ListedHost:
    """What a host has; ``trouble`` is why it does not say, and then all else is None."""

    name: HostName
    labels: tuple[str, ...]
    trouble: str = ""
    versions: dict[str, str] | None = None
    processors: int | None = None
    memory_bytes: int | None = None
    free_at_most_bytes: int | None = None
    guests_running: int | None = None
    guests: int | None = None


def list_hosts(inventory: Inventory) -> list[ListedHost]:
    """Lists the hosts in the order of the file."""
    answers = _ask_each(inventory.hosts, _host)
    return [
        ListedHost(name, inventory.hosts[name].labels, trouble=answer) if isinstance(answer, str) else
        ListedHost(name, inventory.hosts[name].labels, "", *answer)
        for name, answer in answers.items()
    ]  # fmt: skip


def guests_by_host(inventory: Inventory) -> dict[HostName, list[ListedGuest] | str]:
    """Every guest of every host, running or not; why it is not known, of a host that does not say."""
    return _ask_each(inventory.hosts, list_guests)


def _host(host: Hypervisor) -> tuple[dict[str, str], int, int, int, int, int]:
    memory, guests = host.memory(), list_guests(host)
    running = sum(guest.state == "runs" for guest in guests)
    return host.versions(), processors(host), memory.total_bytes, memory.free_at_most_bytes, running, len(guests)


def _ask_each(hosts: Mapping[HostName, InventoryHost], ask: Callable[[Hypervisor], T]) -> dict[HostName, T | str]:
    def asked(spec: InventoryHost) -> T | str:
        try:
            with hypervisor_at(spec.libvirt) as host:
                return ask(host)
        except EngineError as error:
            return error.details or error.brief

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return dict(zip(hosts, pool.map(asked, hosts.values()), strict=True))
