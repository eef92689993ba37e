"""One bus for what happens: published once, where it arises, to any number of observers.

Whoever publishes never waits and never fails. Each observer has a bounded queue and a thread of its own: one that is slow loses
what its queue has no room for, one that fails is not called again, and both are counted and told when the bus closes. Samples
lose their room first: what happened once matters longer than a figure that soon has a successor.

Two things listen at the source instead, as they may lose nothing: the journal of a move, which is on disk before the step that
it names is taken, and the record (``observe.migration_events``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from whimbrel.records.trial import Event, Plan

log = logging.getLogger(__name__)

STEP = "step"
# A step whose words are to stay.
NOTE = "note"
# Data: ``source`` and ``destination``, the hosts that a move will be between, None where that is not known: a command of the
# user's moves something then. Of such a command ``traceparent`` is what it was given, None where nobody wants spans.
WATCHED = "move watched"
# What the next move is expected to take. Data: as ``records.trial.Prediction``.
PREDICTED = "move predicted"
# What the last one took. Data: those of ``analysis.figures.TrialFigures`` that are in ``TOLD``.
FIGURES = "figures"
TOLD = {"total_s", "qemu_downtime_ms", "blackout_ms", "reachability_gap_ms", "service_gap_ms", "transferred_bytes"}
# Of a campaign. Data: ``trials``, each with its ``order``, ``arm`` and ``block``, and whether it was ``made`` before.
PLANNED = "trials planned"
# Data: likewise, of a block that is made again.
MORE_PLANNED = "more trials planned"
# Data: the trial's plan.
TRIAL_BEGUN = "trial begun"
# Also of a single move. Data: ``order``, ``arm``, and the outcome's ``result``, ``succeeded`` and ``error``.
TRIAL_DONE = "trial done"

# What some minutes of a busy move make.
_MOST_KEPT = 20_000
# Gathered for so long before the observer is called: waking it for each of many would cost the move more than they are worth.
_GATHER_S = 0.05


@dataclass(frozen=True)
class Sample:
    """What an instrument saw at one moment of the monotonic clock.

    ``source`` is ``job`` or the instrument's name, such as ``sampler``, ``probe`` or ``player``; ``values`` are as in its series,
    or as its module says.
    """

    source: str
    t_ns: int
    values: Mapping[str, Any]


Published: TypeAlias = Event | Sample
Observer: TypeAlias = Callable[[Sequence[Published]], None]
# Hears of each step, in words.
Told: TypeAlias = Callable[[str], None]


class Subscription:
    """An observer, and what waits for it. ``dropped`` counts what it never got, of ``published`` in all."""

    def __init__(self, name: str, observer: Observer, samples: bool, most: int) -> None:
        self.name = name
        self.samples = samples
        self.published = 0
        self.dropped = 0
        self.failure: Exception | None = None
        self._observer = observer
        self._most = most
        self._queue: deque[Published] = deque()
        # What the observer was called with last.
        self._in_hand = 0
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"observer {name}", daemon=True)
        self._thread.start()

    def put(self, news: Published) -> None:
        """Never waits: what there is no room for is dropped."""
        if isinstance(news, Sample) and not self.samples:
            return
        with self._lock:
            self.published += 1
            room = self._most // 2 if isinstance(news, Sample) else self._most
            if self.failure is not None or len(self._queue) >= room:
                self.dropped += 1
                return
            self._queue.append(news)
            first = len(self._queue) == 1
        if first:
            self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            self._ending.wait(_GATHER_S)
            ending = self._ending.is_set()
            with self._lock:
                batch, self._queue = list(self._queue), deque()
                self._in_hand = len(batch)
            if batch:
                try:
                    self._observer(batch)
                except Exception as error:
                    log.debug("observer %s failed", self.name, exc_info=True)
                    with self._lock:
                        self.failure = error
                        self.dropped += len(batch) + len(self._queue)
                        self._queue.clear()
                    return
            if ending:
                return

    def hurry(self) -> None:
        """Lets the observer have the rest now: nothing more will come."""
        self._ending.set()
        self._news.set()

    def end(self, until_s: float) -> None:
        """Waits until it has had the rest, or for that moment of the monotonic clock."""
        self._thread.join(max(0.0, until_s - time.monotonic()))
        if self._thread.is_alive():
            with self._lock:
                self.dropped += self._in_hand + len(self._queue)
                self._queue.clear()

    @property
    def complaint(self) -> str | None:
        """What it missed, and why; None when it got everything."""
        if self.failure is not None:
            why = f": it failed ({type(self.failure).__name__}: {self.failure})"
        elif self._thread.is_alive() and self._ending.is_set():
            why = ": it stood still"
        else:
            why = ": it was too slow"
        return f"the {self.name} missed {self.dropped} of {self.published} events and samples{why}" if self.dropped else None


class Bus:
    """Hands on what is published; when it is left its observers get the rest, for which they may take ``patience_s``."""

    def __init__(self, patience_s: float = 2.0) -> None:
        self._patience_s = patience_s
        self._subscriptions: tuple[Subscription, ...] = ()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def subscribe(self, name: str, observer: Observer, *, samples: bool = True, most: int = _MOST_KEPT) -> Subscription:
        """Calls ``observer`` on a thread of its own with what is published from now on, oldest first, some at a time.

        Without ``samples`` it gets events only. At most ``most`` wait for it.
        """
        made = Subscription(name, observer, samples, most)
        self._subscriptions = (*self._subscriptions, made)
        return made

    @property
    def wants_samples(self) -> bool:
        """Whether anybody listens to samples: without, instruments need not hand on what they see."""
        return any(subscription.samples for subscription in self._subscriptions)

    def publish(self, news: Published) -> None:
        """Hands it on to every observer, from any thread; neither waits nor fails."""
        for subscription in self._subscriptions:
            subscription.put(news)

    def tell(self, name: str, **data: Any) -> None:
        """Publishes something of our own doing, as an event of this moment."""
        if self._subscriptions:
            self.publish(Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=time.monotonic_ns(), data=data))

    def step(self, text: str) -> None:
        """Publishes, in words, what is being done now."""
        self.tell(STEP, text=text)

    def note(self, text: str) -> None:
        """Publishes what is to be remembered of what was done."""
        self.tell(NOTE, text=text)

    def close(self) -> None:
        """Lets all observers have the rest, for a short time."""
        until_s = time.monotonic() + self._patience_s
        for subscription in self._subscriptions:
            subscription.hurry()
        for subscription in self._subscriptions:
            subscription.end(until_s)

    @property
    def complaints(self) -> list[str]:
        """Says of each observer that missed something what it missed, and why."""
        return [said for subscription in self._subscriptions if (said := subscription.complaint) is not None]


def planned(plans: Iterable[Plan], made: Container[int] = ()) -> list[dict[str, object]]:
    """Trials as ``PLANNED`` tells of them."""
    return [{"order": plan.order, "arm": plan.arm, "block": plan.block, "made": plan.order in made} for plan in plans]
