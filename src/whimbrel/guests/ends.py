"""How a guest ends by itself, as its host's libvirt says at once; told apart from what a move does, and from our own doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType

from whimbrel.engines.events import GuestEvent
from whimbrel.errors import GuestEndedError, TrialError
from whimbrel.guests.last_words import End, LastWords
from whimbrel.hosts.host import Host
from whimbrel.records.trial import Event
from whimbrel.system.deadline import attending

# What an end makes fail may be noticed before libvirt's word of it comes; and its QEMU takes a moment to go.
LATE_S = 0.5
_SETTLES_S = 3.0
_LINES_SAID = 5


class EndWatch:
    """Listens on the hosts for the end of guests, from before they start or, with ``runs_on`` (by name), as they run.

    A guest ends only where it runs: whatever becomes of the other copy belongs to a move. The first end is the one that counts.
    """

    def __init__(self, names: Collection[str], hosts: Sequence[Host], runs_on: dict[str, str] | None = None) -> None:
        self._names = names
        self._hosts = hosts
        self._runs_on = dict(runs_on or {})
        self._ended = threading.Event()
        self._gone = threading.Event()
        self._expected = False
        self._stack = ExitStack()
        self.end: End | None = None

    def __enter__(self) -> EndWatch:
        if not self._names:
            return self
        with ExitStack() as stack:
            for host in self._hosts:
                connection = stack.enter_context(host.hypervisor())
                connection.on_event(partial(self._hear, host.name))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _hear(self, host: str, event: GuestEvent) -> None:
        """Takes an event, on the thread on which it is told."""
        if event.guest not in self._names:
            return
        if event.runs:
            self._runs_on[event.guest] = host
            return
        if self._runs_on.get(event.guest) != host or self._expected:
            return
        if event.ended is not None and self.end is None:
            self.end = End(event.guest, host, event.ended, time.time_ns(), event.seen_monotonic_ns, event.realtime_ns)
            self._ended.set()
        if event.gone:
            self._gone.set()

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Within, an end is asked for by us, as a cold move does."""
        self._expected = True
        try:
            yield
        finally:
            self._expected = False

    def check(self) -> None:
        """Raises GuestEndedError when one has ended."""
        if self.end is not None:
            raise GuestEndedError(str(self.end))

    def told(self) -> str | None:
        """How one has ended; None as long as none has."""
        return None if self.end is None else str(self.end)

    def before(self, events: Sequence[Event]) -> list[Event]:
        """Of a move's events those from before the end: a QEMU whose guest has ended stops as well, and hands nothing over."""
        end = self.end
        if end is None or end.stamp_ns is None:
            return list(events)
        return [each for each in events if each.host != end.host or each.realtime_ns is None or each.realtime_ns < end.stamp_ns]

    def heard(self, within_s: float = LATE_S) -> End | None:
        """The end, of which libvirt's word may still be on its way; waits until its QEMU has gone too, or stays."""
        if self._ended.wait(within_s):
            self._gone.wait(_SETTLES_S)
        return self.end


@contextmanager
def noticed(names: Collection[str], hosts: Sequence[Host]) -> Iterator[None]:
    """Within, the end of a guest of these ends every wait at once, and is what is said, whatever else it made fail first."""
    words = LastWords(hosts)
    with EndWatch(names, hosts) as ends:
        try:
            with attending(ends.check):
                yield
        except TrialError as error:
            end = ends.heard()
            if end is None:
                raise
            console = words.of(end, "").console[-_LINES_SAID:]
            raise GuestEndedError(
                str(end), details="\n".join([*console, "" if isinstance(error, GuestEndedError) else str(error)]).strip()
            ) from error
