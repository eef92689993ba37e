"""How a saved state comes to be: a boot of its own, prepared, left to settle, saved; and a disk, from a boot that ended well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import GuestError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.domain_xml import DomainPlan
from whimbrel.guests.ends import noticed
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import Site, first_host
from whimbrel.system.deadline import undisturbed

_SETTLE_WINDOW_S = 1
_SETTLE_READINGS = 5
_SETTLE_TRIES = 60
_FLAT_MIB_PER_S = 2
_FLAT_SHARE = 0.25

# Prepares a guest that has booted; what it returns is kept with the state.
Prepare = Callable[[GuestAgent], dict[str, Any]]


def make_state(site: Site, guest: GuestIdentity, plan: DomainPlan, below: Path, out: Path, prepare: Prepare) -> None:
    """Boots over ``below``, prepares, settles and saves; leaves memory, disk and ``state.json`` in ``out``."""
    files = site.files.of(guest)
    files.new_disk(below, _format(below))

    def use(running: Guest, agent: GuestAgent) -> None:
        info = prepare(agent)
        info["disk_used_bytes"] = int(agent.run(["df", "--output=used", "-B1", "/"]).split()[-1])
        agent.run(["sync"])
        info["dirty_rate_mib_per_s"] = settle(lambda: running.dirty_rate_mib_per_s(_SETTLE_WINDOW_S))
        running.save(files.saving)
        (out / "state.json").write_text(json.dumps(info, indent=1))

    _with_booted(site, plan, use)
    files.take(out / "memory.save", out / "disk.qcow2")


def make_disk(
    site: Site, guest: GuestIdentity, plan: DomainPlan, below: Path, out: Path, prepare: Callable[[GuestAgent], None]
) -> None:
    """Boots over ``below``, prepares, and powers off; leaves the disk in ``out``."""
    files = site.files.of(guest)
    files.new_disk(below, _format(below))

    def use(running: Guest, agent: GuestAgent) -> None:
        prepare(agent)
        with undisturbed():
            the_guest.power_off(running, agent)

    _with_booted(site, plan, use)
    files.take_disk(out / "disk.qcow2")


def _format(below: Path) -> str:
    return below.suffix.removeprefix(".")


def _with_booted(site: Site, plan: DomainPlan, use: Callable[[Guest, GuestAgent], None]) -> None:
    """Boots the guest on the first host, uses it, and takes its power away whatever happens."""
    with first_host(site).hypervisor() as connection:
        try:
            with noticed({plan.name}, [first_host(site)]):
                running, agent = the_guest.boot(connection, plan)
                use(running, agent)
        finally:
            left = connection.find(plan.uuid)
            if left is not None:
                left.destroy()


def settle(read: Callable[[], int]) -> list[int]:
    """Reads the dirty rate (MiB/s) until five readings in a row are alike; returns all; GuestError when they never are."""
    readings: list[int] = []
    for _ in range(_SETTLE_TRIES):
        readings.append(read())
        if is_flat(readings):
            return readings
    raise GuestError(f"the guest did not settle: its dirty rate (MiB/s) stayed uneven over {_SETTLE_TRIES} readings",
                     details=str(readings))  # fmt: skip


def is_flat(readings: list[int]) -> bool:
    """Whether the last five readings (MiB/s) differ by little: 2 MiB/s, or a quarter of their mean."""
    last = readings[-_SETTLE_READINGS:]
    if len(last) < _SETTLE_READINGS:
        return False
    return max(last) - min(last) <= max(_FLAT_MIB_PER_S, _FLAT_SHARE * sum(last) / len(last))
