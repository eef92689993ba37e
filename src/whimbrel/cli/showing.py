"""What a terminal shows while something is under way: observers of the bus."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from whimbrel.analysis.phases import phase_reached
from whimbrel.cli.streams import say_at_once
from whimbrel.cli.terminal import Steps, notice
from whimbrel.events import MORE_PLANNED, STEP, TRIAL_BEGUN, TRIAL_DONE, WATCHED, Published, Sample
from whimbrel.predict.outlook import Outlook, outlook, readings_of
from whimbrel.records.trial import Event
from whimbrel.report.problems import shorten
from whimbrel.units import format_bytes, format_duration

_LOOKS_FOR_OUTLOOK = 40


def say_steps(news: Sequence[Published]) -> None:
    """Says each step on stderr, for commands without a bar."""
    say = notice()
    for each in news:
        if isinstance(each, Event) and each.name == STEP:
            say(each.data["text"])


class MoveLine:
    """Shows how a move goes: a line that is written over on a terminal, lines elsewhere; at most every ``every_s``."""

    def __init__(self, every_s: float = 0.5) -> None:
        self._every_s = every_s
        self._live = sys.stderr.isatty()
        self._shown_s = 0.0
        self._way = ("", "")
        self._events: list[Event] = []
        self._job: deque[dict[str, Any]] = deque(maxlen=_LOOKS_FOR_OUTLOOK)
        # When the move was called; None before, and once it has returned.
        self._called_ns: int | None = None

    def observe(self, news: Sequence[Published]) -> None:
        """Takes it in, and shows what is known then."""
        for each in news:
            if isinstance(each, Event):
                self._take(each)
            elif each.source == "job":
                self._job.append(dict(each.values))
        if self._called_ns is not None and time.monotonic() - self._shown_s >= self._every_s:
            self._shown_s = time.monotonic()
            self._show(self._called_ns)

    def _take(self, event: Event) -> None:
        self._events.append(event)
        if event.name == WATCHED:
            self._way = event.data["source"], event.data["destination"]
        elif event.name == "move called":
            self._called_ns = event.seen_ns
        elif event.name == "move returned":
            self._called_ns = None
            if self._live and self._shown_s:
                # What follows begins on a line of its own.
                say_at_once("\n")

    def _show(self, called_ns: int) -> None:
        elapsed_s = (time.monotonic_ns() - called_ns) / 1e9
        text = f"{elapsed_s:6.1f} s  {phase_reached(self._events, *self._way):14s} {self._amounts()}"
        say_at_once(f"\r{text:<110}" if self._live else f"{text}\n")

    def _amounts(self) -> str:
        if not self._job:
            carriers = [event.name for event in self._events if event.source == "carrier"]
            return carriers[-1] if carriers else ""
        job = self._job[-1]
        parts = [f"round {job['iteration']}" if job["iteration"] else "", _amount(job["transferred_bytes"], "sent"),
                 _amount(job["remaining_bytes"], "left")]  # fmt: skip
        if job["dirty_pages_per_s"]:
            parts.append(f"{job['dirty_pages_per_s']} pages/s dirtied")
        parts.append(_left(outlook(readings_of(self._job))))
        return "  ".join(filter(None, parts))


def _left(found: Outlook) -> str:
    if found.converges is False:
        return "does not converge"
    return "" if found.left_s is None else f"about {format_duration(found.left_s)} to go"


def _amount(size_bytes: int | None, what: str) -> str:
    return "" if size_bytes is None else f"{format_bytes(size_bytes)} {what}"


class CampaignBar:
    """Shows how a campaign of so many trials goes, in ``steps``."""

    def __init__(self, steps: Steps, trials: int) -> None:
        self._steps = steps
        self._trials = trials
        self._began_ns = 0

    def observe(self, news: Sequence[Published]) -> None:
        """Takes in what has happened."""
        for each in news:
            if not isinstance(each, Sample):
                self._take(each)

    def _take(self, event: Event) -> None:
        data = event.data
        if event.name == STEP:
            self._steps.step(data["text"])
        elif event.name == TRIAL_BEGUN:
            self._began_ns = event.seen_ns
            block = f"block {data['block']}" if data["block"] else "warm-up"
            self._steps.note(f"trial {data['order']} of {self._trials} ({self._steps.left()}): {data['arm']}, {block}")
        elif event.name == TRIAL_DONE:
            if not data["succeeded"]:
                what = "was not measured" if data["result"] in ("moved", "stayed") else data["result"]
                self._steps.note(f"trial {data['order']} {what}: {shorten(data['error'])}")
            self._steps.done((event.seen_ns - self._began_ns) / 1e9)
        elif event.name == MORE_PLANNED:
            self._trials += len(data["trials"])
            self._steps.more(len(data["trials"]))
