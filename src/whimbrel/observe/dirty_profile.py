"""How many different pages a running guest dirties in windows of growing length, found without stopping it.

On this machine: a sample of its pages is looked at through its QEMU's memory again and again; a page whose fingerprint
differs between two looks was dirtied between them. On hosts by URI: QEMU's own calculation, which says whole MiB/s. In KVM it
counts the pages that were written (``bitmap``), else it looks at a sample of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whimbrel.engines.hypervisor import DirtyRateMode, Guest
from whimbrel.errors import RefusedError, UsageError
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.predict.profile import WINDOWS_S, Looks, Profile, profile_of_looks, profile_of_rates
from whimbrel.spec.fields import HostName
from whimbrel.system.deadline import pause
from whimbrel.system.process_memory import PAGE_BYTES, ProcessMemory

_SEED = 20230427
# Pages of a sample: a look at so many takes some tens of ms.
USUAL_SAMPLE = 16384
_MIB = 2**20
# As QEMU looks at where it was not told otherwise (migration/dirtyrate.h, DIRTYRATE_DEFAULT_SAMPLE_PAGES).
_SAMPLED_PER_GIB = 512
# In which order they are tried. With the bitmap each page that was written counts once; QEMU refuses it to a guest with a dirty
# ring, and without KVM it counts nothing. With the ring pages that are written again count again.
_WAYS: dict[str, tuple[DirtyRateMode, ...]] = {"kvm": ("bitmap", "sampling", "ring"), "emulated": ("sampling",)}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profiled:
    """What was found, and what finding it took: our own CPU time. ``link_bytes_per_s`` None where the link cannot be tried."""

    host: HostName
    profile: Profile
    link_bytes_per_s: float | None
    took_s: float
    cpu_s: float


def profile_guest(
    host: Host, guest: GuestIdentity, memory_bytes: int, seconds: float, sample: int, told: Callable[[float], None]
) -> Profile:
    """A running guest's profile, over so many seconds; UsageError when it does not run on the host."""
    process = host.access.process_of(guest)
    if process is not None:
        with ProcessMemory(process, memory_bytes) as memory:
            return profile_of_looks(look_at(memory, seconds, sample, told))
    with host.hypervisor() as connection:
        found = connection.find(guest.uuid)
        if found is None:
            raise UsageError(f"{guest} does not run on host {host.name}")
        return ask_qemu(found, seconds, told)


def look_at(memory: ProcessMemory, seconds: float, sample: int, told: Callable[[float], None]) -> Looks:
    """Looks at ``sample`` pages, drawn at random, over so many seconds; ``told`` hears how many seconds are over.

    Looks come close together at first and then further apart, so that every window has several pairs, and the guest is read from
    for a few per cent of the time.
    """
    dice = np.random.default_rng(_SEED)
    numbers = [int(page) for page in np.sort(dice.choice(memory.pages, size=min(sample, memory.pages), replace=False))]
    weights = dice.integers(1, 2**63, size=PAGE_BYTES // 8, dtype=np.uint64) | np.uint64(1)
    content = np.zeros((len(numbers), PAGE_BYTES // 8), dtype=np.uint64)
    times_s: list[float] = []
    prints: list[np.ndarray] = []
    began_s = time.monotonic()
    for due_s in schedule(seconds):
        pause(max(0.0, began_s + due_s - time.monotonic()))
        times_s.append(time.monotonic() - began_s)
        memory.read(numbers, content)
        # A weighted sum modulo 2^64: two contents of a page have the same one by a chance of 1 in 2^64.
        prints.append((content * weights).sum(axis=1, dtype=np.uint64))
        told(times_s[-1])
    return Looks(memory.pages, tuple(times_s), np.stack(prints), memory.zeros())


def schedule(seconds: float) -> list[float]:
    """When to look, in seconds from the beginning, the end included: every 0.1 s, then further and further apart."""
    due_s: list[float] = []
    at_s = 0.0
    while at_s < seconds:
        due_s.append(at_s)
        at_s = round(at_s + (0.1 if at_s < 1 else 0.5 if at_s < 6 else 2.5 if at_s < 30 else 5.0), 3)
    return [*due_s, seconds]


def ask_qemu(guest: Guest, seconds: float, told: Callable[[float], None]) -> Profile:
    """Asks for QEMU's calculation, one window of whole seconds after the other."""
    windows_s = [window_s for window_s in WINDOWS_S if window_s >= 1 and window_s <= seconds]
    rates: list[tuple[float, float]] = []
    mode: DirtyRateMode | None = None
    over_s = 0.0
    for window_s in windows_s:
        if mode is None:
            mode, mib_per_s = _first_rate(guest, round(window_s))
        else:
            mib_per_s = guest.dirty_rate_mib_per_s(round(window_s), mode)
        rates.append((window_s, mib_per_s * float(_MIB)))
        over_s += window_s
        told(over_s)
    pages = guest.memory_bytes // PAGE_BYTES
    resident = guest.resident_bytes
    # What QEMU has never touched reads as zeros.
    zero = max(0.0, 1.0 - resident / PAGE_BYTES / pages) if resident is not None else 0.0
    sample = _SAMPLED_PER_GIB * guest.memory_bytes / 2**30 if mode == "sampling" else None
    return profile_of_rates(pages, zero, rates, float(_MIB), sample)


def _first_rate(guest: Guest, seconds: int) -> tuple[DirtyRateMode, int]:
    """The first way of QEMU's that this host has, and what it says; RefusedError when it has none."""
    *others, last = _WAYS["kvm" if guest.in_kvm else "emulated"]
    for mode in others:
        try:
            return mode, guest.dirty_rate_mib_per_s(seconds, mode)
        except RefusedError:
            log.debug("the dirty rate is not told by %s", mode, exc_info=True)
    return last, guest.dirty_rate_mib_per_s(seconds, last)


def expected_s(seconds: float, by_qemu: bool) -> float:
    """How long a profile takes, in seconds."""
    return sum(window_s for window_s in WINDOWS_S if 1 <= window_s <= seconds) if by_qemu else seconds
