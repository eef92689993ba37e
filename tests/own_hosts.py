"""Two hypervisors of somebody else's with guests on them, with what a move of such a guest asks of ``Hypervisor`` and ``Guest``.

They keep and forget descriptions as libvirt does (VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_UNDEFINE_SOURCE).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.fakes import FakeDomain
from whimbrel.engines.events import GuestEvent, qemu_event
from whimbrel.engines.hypervisor import Abilities, HostMemory, MoveFigures, MoveOptions, Progress
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, NoGuestError, RefusedError
from whimbrel.hosts.preflight.finding import Finding
from whimbrel.own import moving
from whimbrel.own.moving import Asked
from whimbrel.own.sides import sides_of
from whimbrel.spec.migration import MigrationSpec

FROM, TO = "qemu+ssh://one.example/system", "qemu+ssh://two.example/system"
UUID = "5a1e7f4c-0000-4000-8000-000000000001"
DEFINITION = f"""<domain type="kvm"><name>shop</name><uuid>{UUID}</uuid>
<devices><interface type="bridge"><mac address="52:54:00:01:02:03"/></interface></devices></domain>"""


@dataclass
class OwnedGuest(FakeDomain):
    """One copy of a guest on one host; ``kept`` is what the host keeps of it, None of a transient one."""

    host: FakeHypervisor | None = None
    kept: str | None = DEFINITION
    notes: dict[str, str] = field(default_factory=dict)
    starts_itself: bool = False
    runs: bool = True
    uuid: str = UUID
    trouble: EngineError | None = None
    # Called when it is asked how far its move has come.
    on_progress: Callable[[], None] = lambda: None
    # What is done in the middle of its move, before it arrives.
    meanwhile: Callable[[], None] = lambda: None

    # MiB/s by the ways of telling it that the host has.
    dirty_rates: dict[str, int] = field(default_factory=lambda: {"sampling": 4})
    asked_by: list[tuple[str, int]] = field(default_factory=list)
    in_kvm: bool = True

    name = "shop"
    memory_bytes = 2**30
    resident_bytes = 2**29
    crashed = split = in_post_copy = False
    description = arriving_description = DEFINITION

    @property
    def active(self) -> bool:
        return self.there and self.runs

    @property
    def executing(self) -> bool:
        return self.active

    @property
    def persistent(self) -> bool:
        return self.kept is not None

    @property
    def definition(self) -> str:
        return self.kept or DEFINITION

    @property
    def autostart(self) -> bool:
        return self.starts_itself

    def set_autostart(self, on: bool) -> None:
        if self.kept is None:
            raise RefusedError("libvirt could not: cannot set autostart for transient domain")
        self.starts_itself = on

    def read_note(self, namespace: str) -> str | None:
        self._answer()
        return self.notes.get(namespace)

    def write_note(self, namespace: str, prefix: str, element: str) -> None:
        self._answer()
        self.notes[namespace] = element

    def remove_note(self, namespace: str) -> None:
        self._answer()
        self.notes.pop(namespace, None)

    def undefine(self) -> None:
        assert not self.active
        self.kept = None
        assert self.host is not None
        self.host.guests.pop(self.uuid)

    def progress(self) -> Progress | None:
        if self.job is not None:
            self.on_progress()
        return super().progress()

    def settings(self) -> tuple[dict[str, Any], list[str]]:
        return {}, []

    def move_figures(self) -> MoveFigures | None:
        return MoveFigures(120, None)

    def dirty_rate_mib_per_s(self, seconds: int, mode: str = "sampling") -> int:
        self.asked_by.append((mode, seconds))
        if mode not in self.dirty_rates:
            raise RefusedError(f"libvirt could not measure the dirty rate: mode {mode} is not available")
        return self.dirty_rates[mode]

    def completed_job_stats(self, keep: bool = False) -> dict[str, int] | None:
        return {"downtime": 130, "memory_processed": 7}

    def migrate(self, options: MoveOptions) -> None:
        self._answer()
        assert self.host is not None
        there = self.host.peer
        assert there is not None
        self.job = Progress(transferred_bytes=5)
        self.meanwhile()
        if self.trouble is not None:
            self.job = None
            raise self.trouble
        self.host.say(self, "STOP")
        before = there.guests.get(self.uuid)
        kept = self.kept or DEFINITION if options.persist else before.kept if before is not None else None
        there.guests[self.uuid] = OwnedGuest(
            host=there, kept=kept, notes=dict(self.notes), uuid=self.uuid, meanwhile=self.meanwhile
        )
        there.say(self, "RESUME")
        self.runs, self.job, self.notes = False, None, {}
        if options.undefine_source or self.kept is None:
            self.host.guests.pop(self.uuid)
            self.there = False


class FakeHypervisor:
    """One host's."""

    raw = None
    abilities = Abilities(frozenset({"paused", "pre-copy", "post-copy", "pre-post-copy"}), True, True)

    def __init__(self, uri: str, number: int) -> None:
        self.uri = uri
        self.number = number
        self.guests: dict[str, OwnedGuest] = {}
        self.told: list[Callable[[GuestEvent], None]] = []
        self.peer: FakeHypervisor | None = None

    def find(self, uuid: str) -> OwnedGuest | None:
        return self.guests.get(uuid)

    def find_named(self, name: str) -> OwnedGuest | None:
        return next((guest for guest in self.guests.values() if guest.name == name), None)

    def running(self) -> list[OwnedGuest]:
        return [guest for guest in self.guests.values() if guest.active]

    def on_event(self, callback: Callable[[GuestEvent], None]) -> None:
        self.told.append(callback)

    def say(self, guest: OwnedGuest, name: str) -> None:
        for told in self.told:
            told(qemu_event(guest.name, name, time.time_ns(), time.monotonic_ns(), {}))

    def clock_stamps(self, guest: Any, tries: int) -> tuple[list[tuple[int, int]], list[int]]:
        if not guest.active:
            raise NoGuestError("it is not there")
        now_ns = time.time_ns()
        return [(now_ns - 10, now_ns + 10)] * tries, [now_ns] * tries

    def memory(self) -> HostMemory:
        return HostMemory(8 * 2**30, 6 * 2**30, 0, 0)

    def host_statistics(self) -> dict[str, int]:
        return {"cpu_ns": self.number * 10**9, "memory_bytes": self.number * 10, "cache_bytes": 0}

    def versions(self) -> dict[str, str]:
        return {"libvirt": "11.3.0", "qemu": "10.0.0"}

    def host_identity(self) -> tuple[str, str]:
        return f"1f9f0a34-0000-4000-8000-00000000000{self.number}", f"machine-{self.number}"

    def close(self) -> None:
        return None

    def __enter__(self) -> FakeHypervisor:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class OwnHosts:
    """Both, and the guest ``shop`` on the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one, self.two = FakeHypervisor(FROM, 1), FakeHypervisor(TO, 2)
        self.one.peer, self.two.peer = self.two, self.one
        self.guest = OwnedGuest(host=self.one)
        self.one.guests[UUID] = self.guest
        # What stands against a move, where all else is asked of a real libvirt.
        self.against: list[Finding] = []
        monkeypatch.setattr(Connection, "open", {FROM: self.one, TO: self.two}.__getitem__)
        # Hosts that only these know have no libvirt to be sampled by another process.
        monkeypatch.setattr(moving, "sampled_of", lambda asked: [])
        monkeypatch.setattr(moving, "examine_guest", lambda guest, both, sides, spec: list(self.against))

    @property
    def runs_on(self) -> list[str]:
        """Of which copies execute."""
        return [name for name, host in (("one", self.one), ("two", self.two)) if UUID in host.guests and host.guests[UUID].active]

    @property
    def kept_on(self) -> list[str]:
        """Of which hosts keep its description."""
        return [
            name for name, host in (("one", self.one), ("two", self.two)) if UUID in host.guests and host.guests[UUID].persistent
        ]

    @property
    def notes(self) -> list[str]:
        """What is written into its description anywhere."""
        return [note for host in (self.one, self.two) for guest in host.guests.values() for note in guest.notes.values()]


def asked(**more: object) -> Asked:
    """A move of the guest from one to the other."""
    return replace(Asked("shop", *sides_of(FROM, TO), MigrationSpec()), **more)  # type: ignore[arg-type]
