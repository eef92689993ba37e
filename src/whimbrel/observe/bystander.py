"""What libvirt and QEMU say on two or more hosts while somebody else moves a guest.

It only listens and reads: events of both, the job's statistics, the hosts' own. No command is given to QEMU's monitor, which
would mark the guest as tainted. So QEMU's own downtime, which is told nowhere else, is not among it; libvirt's is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from whimbrel.analysis.engines import Seen
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.events import GuestEvent
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import EngineError, NoGuestError, RefusedError, UsageError
from whimbrel.events import Bus, Sample
from whimbrel.observe.migration_events import job_row
from whimbrel.observe.sampler import LibvirtReader
from whimbrel.records.series import HOSTS_SCHEMA, JOB_SCHEMA, HostRow
from whimbrel.records.trial import ClockReading, Event
from whimbrel.spec.libvirt_uri import split_libvirt_uri
from whimbrel.system.clock import read_pair

_LOOK_S = 0.05
SAMPLE_S = 0.5
_ROUND_TRIPS = 5
_JOIN_S = 5.0


@dataclass
class WatchedHost:
    """A host as we reach it; ``round_trip_ns`` is how long an answer takes, None where its clock is ours."""

    name: str
    connection: Hypervisor
    round_trip_ns: int | None
    rows: list[HostRow] = field(default_factory=list)
    lost: str = ""


class Bystander:
    """Listens from ``open`` to ``close``; between ``begin`` and ``end`` somebody moves the guest, any number of times.

    What is heard and read is published on ``bus`` as well.
    """

    def __init__(self, uris: Mapping[str, str], guest: str, bus: Bus) -> None:
        self._uris, self._guest, self._bus = uris, guest, bus
        self._stack = contextlib.ExitStack()
        # Those that are listened to.
        self.hosts: list[WatchedHost] = []
        self._events: list[Event] = []
        self._job: list[dict[str, int | None]] = []
        self._ended = threading.Event()
        self._moved = threading.Event()
        self._threads: list[threading.Thread] = []
        self._looking: threading.Thread | None = None
        self._source: str | None = None
        self._before: ClockReading | None = None

    def open(self) -> None:
        """Connects to all hosts; EngineError when one cannot be reached, UsageError when the guest runs on none of them."""
        with self._stack:
            for name, uri in self._uris.items():
                connection = self._stack.enter_context(hypervisor_at(uri))
                host = WatchedHost(name, connection, None if _is_here(uri) else _round_trip_ns(connection))
                self.hosts.append(host)
                self._listen(host)
            if self._where() is None:
                raise UsageError(
                    f"the guest {self._guest} runs on none of {', '.join(self._uris)}",
                    resolution="'virsh -c URI list' shows what runs there",
                )
            self._stack = self._stack.pop_all()
        for host in self.hosts:
            self._threads.append(threading.Thread(target=self._sample, args=(host,), name=f"sample {host.name}", daemon=True))
            self._threads[-1].start()

    def _where(self) -> tuple[WatchedHost, Guest] | None:
        """The host on which the guest executes, else the one that has it active."""
        found: list[tuple[WatchedHost, Guest]] = []
        for host in self.hosts:
            with contextlib.suppress(EngineError):
                found += [(host, guest) for guest in host.connection.running() if guest.name == self._guest]
        return next((each for each in found if each[1].executing), found[0] if found else None)

    def _listen(self, host: WatchedHost) -> None:
        def on_event(event: GuestEvent) -> None:
            if event.guest == self._guest:
                heard = Event(source=event.source, host=host.name, name=event.name, realtime_ns=event.realtime_ns,
                              seen_ns=event.seen_monotonic_ns, data=event.data)  # fmt: skip
                self._events.append(heard)
                self._bus.publish(heard)

        host.connection.on_event(on_event)

    def begin(self) -> tuple[str | None, str | None]:
        """The move is about to be called: the host that it is from, and the one that it is to; None where that is not known."""
        found = self._where()
        self._source = found[0].name if found is not None else None
        self._events.clear()
        self._job.clear()
        self._moved.clear()
        self._before = _reading()
        self._events.append(
            Event(source="whimbrel", host=None, name="move called", realtime_ns=None, seen_ns=time.monotonic_ns())
        )  # fmt: skip
        if found is not None:
            self._looking = threading.Thread(target=self._look, args=(found[1],), name="watched job", daemon=True)
            self._looking.start()
        others = [host.name for host in self.hosts if host.name != self._source]
        return self._source, others[0] if len(others) == 1 else None

    def _look(self, guest: Guest) -> None:
        with contextlib.suppress(EngineError):
            while not self._moved.wait(_LOOK_S):
                try:
                    progress = guest.progress()
                except NoGuestError:
                    return
                except RefusedError:
                    # libvirt is busy with it: what was not seen is a hole in the series.
                    continue
                if progress is not None:
                    row = job_row(time.monotonic_ns(), progress)
                    self._job.append(row)
                    self._bus.publish(Sample("job", row["t_ns"] or 0, row))

    def end(self) -> Seen:
        """The move has ended and what follows was watched: everything that was seen of it."""
        self._moved.set()
        if self._looking is not None:
            self._looking.join(_JOIN_S)
        found = self._where()
        assert self._before is not None
        completed = None
        if found is not None and found[0].name != self._source:
            with contextlib.suppress(EngineError):
                completed = found[1].completed_job_stats(keep=True)
        return Seen(
            source=self._source,
            destination=found[0].name if found is not None and found[0].name != self._source else None,
            events=sorted(self._events, key=lambda event: event.seen_ns),
            job=pl.DataFrame(self._job, schema=JOB_SCHEMA),
            hosts=pl.DataFrame([row for host in self.hosts for row in list(host.rows)], schema=HOSTS_SCHEMA).sort("t_ns"),
            completed=completed,
            clock_before=self._before,
            clock_after=_reading(),
            round_trips_ns={host.name: host.round_trip_ns for host in self.hosts if host.round_trip_ns is not None},
            notes=[f"libvirt of host {host.name} fell silent: {host.lost}" for host in self.hosts if host.lost],
        )

    def _sample(self, host: WatchedHost) -> None:
        reader = LibvirtReader(host.name, host.connection, round(SAMPLE_S * 1e9))
        while not self._ended.wait(SAMPLE_S):
            try:
                t_ns = time.monotonic_ns()
                rows = list(reader.host_rows(t_ns))
                host.rows += rows
                for row in rows:
                    self._bus.publish(Sample("sampler", t_ns, row))
            except RefusedError:
                continue
            except EngineError as error:
                host.lost = error.brief
                return

    def close(self) -> None:
        """Ends all listening, and the connections."""
        self._ended.set()
        self._moved.set()
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._stack.close()


def _is_here(uri: str) -> bool:
    """Whether the host's clocks are ours; of a URI that is unlike those of files that is not known."""
    try:
        return split_libvirt_uri(uri).local
    except ValueError:
        return False


def _round_trip_ns(connection: Hypervisor) -> int:
    def once() -> int:
        before_ns = time.monotonic_ns()
        connection.host_statistics()
        return time.monotonic_ns() - before_ns

    return min(once() for _ in range(_ROUND_TRIPS))


def _reading() -> ClockReading:
    pair = read_pair()
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)


@contextlib.contextmanager
def bystander(uris: Mapping[str, str], guest: str, bus: Bus) -> Iterator[Bystander]:
    """One that listens for as long as this is entered."""
    made = Bystander(uris, guest, bus)
    made.open()
    try:
        yield made
    finally:
        made.close()
