"""Tells, a few times a second, what became of the questions since: for whoever looks on while it is watched."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from whimbrel.checks.check import Check
from whimbrel.checks.registry import kind_listens
from whimbrel.events import WATCHED, Bus, Sample
from whimbrel.records.trial import Event
from whimbrel.trace_parent import TraceParent
from whimbrel.watch.log import CheckLog
from whimbrel.watch.plan import Ran

# Source and destination of a move, None where that is not known.
Way = tuple[str | None, str | None]
_EVERY_S = 0.25
# A page can show no more, and whoever counts has the results.
_MOST_LATENCIES = 200
_GOOD = ("good", "heard")
# A question that is out for longer makes its check silent.
_SILENT_AFTER_NS = 300_000_000


def told_of(check: Check) -> dict[str, object]:
    """What figures need to know of a check; ``period_s`` is None of one that listens."""
    period_s = None if kind_listens(check) else 1 / check.rate_per_s
    return {"name": check.name, "kind": check.kind, "url": check.url, "period_s": period_s}


def tell_called(bus: Bus, way: Way, span: TraceParent | None, started_ns: int) -> None:
    """A command was started that moves something."""
    bus.tell(WATCHED, source=way[0], destination=way[1], traceparent=None if span is None else str(span))
    bus.publish(_moment("move called", started_ns))


def tell_returned(bus: Bus, ran: Ran) -> None:
    """The command has ended, and with it the move."""
    bus.publish(_moment("move returned", ran.ended_ns, exit_code=ran.exit_code))


def _moment(name: str, at_ns: int, **data: int) -> Event:
    return Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=at_ns, data=data)


class Telling:
    """Publishes samples of the source ``checks``.

    By check, ``results`` are how many questions ended how since the sample before, ``latencies_s`` those of good answers, and
    ``states`` whether it is ``good``, ``silent`` or ``failed`` just now.
    """

    def __init__(self, checks: Sequence[Check], logs: Sequence[CheckLog], bus: Bus) -> None:
        self._checks = checks
        self._logs = logs
        self._bus = bus
        self._counted = [Counter[str]() for _ in checks]
        self._since_ns = time.monotonic_ns()

    async def run(self) -> None:
        """Tells until it is cancelled; nothing where nobody listens."""
        while self._bus.wants_samples:
            await asyncio.sleep(_EVERY_S)
            self.tell()

    def tell(self) -> None:
        """Publishes what is new, where somebody listens."""
        if not self._bus.wants_samples:
            return
        now_ns = time.monotonic_ns()
        results: dict[str, dict[str, int]] = {}
        latencies_s: dict[str, list[float]] = {}
        states: dict[str, str] = {}
        for position, (check, log) in enumerate(zip(self._checks, self._logs, strict=True)):
            new = log.counts - self._counted[position]
            self._counted[position] = Counter(log.counts)
            if new:
                results[check.name] = dict(new)
                good = [each for each in log.ended_since(self._since_ns) if each.good][:_MOST_LATENCIES]
                latencies_s[check.name] = [round((each.ended_ns - each.due_ns) / 1e9, 6) for each in good]
            states[check.name] = _state(new, log, now_ns)
        self._since_ns = now_ns
        values: dict[str, Any] = {"results": results, "latencies_s": latencies_s, "states": states}
        self._bus.publish(Sample("checks", now_ns, values))


def _state(new: Counter[str], log: CheckLog, now_ns: int) -> str:
    if any(outcome not in _GOOD for outcome in new):
        return "failed"
    out_ns = log.oldest_open_ns
    if not new and out_ns is not None and now_ns - out_ns > _SILENT_AFTER_NS:
        return "silent"
    return "good"
