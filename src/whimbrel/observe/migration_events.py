"""What both engines say while a guest moves: QEMU's and libvirt's events of both hosts, and the job's statistics every 50 ms."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from whimbrel.engines.events import GuestEvent
from whimbrel.engines.hypervisor import Guest, Hypervisor, Progress
from whimbrel.errors import InstrumentError, NoGuestError, RefusedError
from whimbrel.events import WATCHED, Bus, Sample
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.predict.outlook import Outlook, outlook, readings_of
from whimbrel.records.series import JOB_SCHEMA, write_series
from whimbrel.records.trial import Event
from whimbrel.spec.fields import HostName
from whimbrel.system.child import Looks, holes_of, jitter_of

log = logging.getLogger(__name__)

# Each look is work for libvirtd and QEMU on the source, which is counted as what the move takes there: near a millisecond.
_LOOK_EVERY_S = 0.05
# There are no rounds any more to be told apart.
LOOK_AFTER_STOP_EVERY_S = 0.25
# All has been sent, or nearly: QEMU soon says that it is done, and where that comes late a look may still be in time.
_LOOK_NEAR_END_EVERY_S = 0.01
# Once it has said so it goes within 10 to 50 ms, and with it the only copy of its own downtime figure.
_LOOK_AT_END_EVERY_S = 0.005
_LOOKS_FOR_OUTLOOK = 40
_HOLE_S = 0.5


class MigrationEvents:
    """Listens on both hosts and looks at the source's job; a failure of the looking thread is raised at exit.

    ``guests`` are the VM to listen for on source and on destination.
    None: no VM has a part in the move, and only what is marked and quoted is kept.
    What it keeps for the record it publishes on ``bus`` as well, and each look at the job as a sample (``job``).
    """

    def __init__(
        self, guests: tuple[GuestIdentity, GuestIdentity] | None, source: Host, destination: Host, bus: Bus | None = None
    ) -> None:
        self._guests = guests
        self._bus = bus or Bus()
        self._hosts = (source, destination)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._job: list[dict[str, int | None]] = []
        self._end = threading.Event()
        self._stopped = threading.Event()
        self._completed = threading.Event()
        self._wake = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._lateness: list[float] = []
        self._looks = Looks(_HOLE_S)
        self._cpu_s: float | None = None
        self.qemu_downtime_ms: int | None = None
        self.qemu_ram: dict[str, int | float] | None = None
        self.parameters: dict[str, Any] | None = None
        self.capabilities: list[str] | None = None
        self._parameters_final = False
        self._foretold: int | None = None

    @property
    def way(self) -> tuple[str, str]:
        """The names of source and destination."""
        return self._hosts[0].name, self._hosts[1].name

    @property
    def job(self) -> dict[str, int | None] | None:
        """The last row of the job's series; None before the first."""
        return self._job[-1] if self._job else None

    def __enter__(self) -> MigrationEvents:
        self._bus.tell(WATCHED, source=self._hosts[0].name, destination=self._hosts[1].name)
        with ExitStack() as stack:
            for host, guest in zip(self._hosts, self._guests or (None, None), strict=True):
                connection = stack.enter_context(host.hypervisor())
                if guest is not None:
                    self._listen(connection, host.name, guest)
            looking = stack.enter_context(self._hosts[0].hypervisor())
            self._thread = threading.Thread(target=self._look, args=(looking,), name="migration-job", daemon=True)
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._wake.set()
        assert self._thread is not None
        self._thread.join(10)
        self._stack.close()
        if kind is None and self._failure is not None:
            raise InstrumentError("the watch on the move's statistics failed", details=str(self._failure)) from self._failure

    def _listen(self, connection: Hypervisor, host: HostName, guest: GuestIdentity) -> None:
        def on_event(event: GuestEvent) -> None:
            if event.guest == guest.name:
                self._add(Event(source=event.source, host=host, name=event.name, realtime_ns=event.realtime_ns,
                                seen_ns=event.seen_monotonic_ns, data=event.data))  # fmt: skip
                self._note_end(host, event)

        connection.on_event(on_event)

    def _note_end(self, host: HostName, event: GuestEvent) -> None:
        """What says that the end is near; when either hypervisor is done, the source's is, and the next look is taken at once."""
        at_source = host == self._hosts[0].name
        if event.pauses and at_source:
            self._stopped.set()
        elif event.runs and at_source:
            # It did not move.
            self._stopped.clear()
        elif event.all_sent:
            self._completed.set()
            self._wake.set()

    def _add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
        self._bus.publish(event)

    def mark(self, name: str, **data: Any) -> int:
        """Writes down something of our own doing; returns its time."""
        now_ns = time.monotonic_ns()
        self._add(Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=now_ns, data=data))
        return now_ns

    def note(self, name: str, **data: Any) -> int:
        """The same: nothing here waits for a disk."""
        return self.mark(name, **data)

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        """Writes down what the carrier on a host says, with its own stamp."""
        self._add(Event(source="carrier", host=host, name=name, realtime_ns=realtime_ns, seen_ns=time.monotonic_ns()))

    @property
    def events(self) -> list[Event]:
        """Everything so far, as it was seen."""
        with self._lock:
            return sorted(self._events, key=lambda event: event.seen_ns)

    def write_job(self, file: Path) -> None:
        """Writes the job's series."""
        write_series(pl.DataFrame(self._job, schema=JOB_SCHEMA), file)

    def _look(self, connection: Hypervisor) -> None:
        if self._guests is None:
            return
        try:
            guest = self._guests[0]
            found = connection.find(guest.uuid)
            if found is None:
                raise InstrumentError(f"the guest {guest} is not on the source")
            while not self._end.is_set():
                try:
                    self._look_once(found)
                except NoGuestError:
                    return
                except RefusedError:
                    # libvirt is busy with it: what was not seen is a hole in the series.
                    log.debug("a look at the job was refused", exc_info=True)
                self._wait(self._until_next_look_s())
        except BaseException as error:  # a thread has nobody to raise to: kept for __exit__
            self._failure = error

    def _look_once(self, guest: Guest) -> None:
        """NoGuestError once the guest has gone from the source."""
        if self._waits_for_end and self._until_next_look_s() < LOOK_AFTER_STOP_EVERY_S:
            self._read_downtime(guest)
            if self._completed.is_set() and self.qemu_downtime_ms is None:
                # On a crowded machine an answer takes as long as QEMU still has: nothing else is asked before this one is had.
                self._looks.note()
                return
        progress = guest.progress()
        self._looks.note()
        if progress is not None:
            row = job_row(time.monotonic_ns(), progress)
            self._job.append(row)
            self._bus.publish(Sample("job", row["t_ns"] or 0, row))
            self._renew_outlook()
            # Before the first byte they may still be those of an earlier move.
            if not self._parameters_final:
                self.parameters, self.capabilities = guest.settings()
                self._parameters_final = bool(progress.transferred_bytes)

    @property
    def _waits_for_end(self) -> bool:
        """Whether nothing is left to be learned but QEMU's downtime."""
        return self._stopped.is_set() and self.qemu_downtime_ms is None

    def _until_next_look_s(self) -> float:
        """Ever shorter towards the end, as the source's QEMU must be asked between its last word and its end."""
        if not self._waits_for_end:
            return _LOOK_EVERY_S
        if self._completed.is_set():
            return _LOOK_AT_END_EVERY_S
        row = self.job or {}
        left_s = 0.0 if row.get("transferred_bytes") and row.get("remaining_bytes") == 0 else self.outlook.left_s
        if left_s is None:
            return LOOK_AFTER_STOP_EVERY_S
        return min(LOOK_AFTER_STOP_EVERY_S, max(_LOOK_NEAR_END_EVERY_S, left_s / 2))

    def _renew_outlook(self) -> None:
        """Writes down, once a round, how much longer the move will take as things are then."""
        number = self._job[-1]["iteration"]
        if number is not None and number != self._foretold and self.outlook.left_s is not None:
            self._foretold = number
            self.mark("outlook", round=number, **asdict(self.outlook))

    @property
    def outlook(self) -> Outlook:
        """How much longer it will take, as things are now."""
        return outlook(readings_of(self._job[-_LOOKS_FOR_OUTLOOK:]))

    def _wait(self, seconds: float) -> None:
        due_s = time.monotonic() + seconds
        if not self._wake.wait(seconds):
            self._lateness.append(max(0.0, time.monotonic() - due_s))
        self._wake.clear()
        self._cpu_s = time.thread_time()

    @property
    def cost(self) -> dict[str, Any]:
        """What looking at the job took, how late it was, and its holes; listening is done by libvirt's own thread."""
        return {"cpu_s": self._cpu_s, **jitter_of(self._lateness), **holes_of([self._looks])}

    def _read_downtime(self, guest: Guest) -> None:
        found = guest.move_figures()
        if found is not None and found.downtime_ms is not None:
            self.qemu_downtime_ms, self.qemu_ram = found.downtime_ms, found.ram


def job_row(t_ns: int, progress: Progress) -> dict[str, int | None]:
    """A row of the job's series."""
    return {"t_ns": t_ns, **asdict(progress)}
