"""What became of every question, column by column, while it is asked."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Sequence
from itertools import chain, takewhile

import polars as pl

from whimbrel.analysis.steadiness import Recent
from whimbrel.records.series import CHECKS_SCHEMA

# Of each check that many are kept to tell how it is now: more than end in the time that is looked at, at the highest rate.
_RECENT = 20_000
_NONE_NS = -1


class CheckLog:
    """One check's questions. ``open`` holds those that are out, by their number, with when they were due and sent."""

    def __init__(self) -> None:
        self._due_ns: array[int] = array("q")
        self._sent_ns: array[int] = array("q")
        self._ended_ns: array[int] = array("q")
        self._outcomes: array[int] = array("b")
        self._addresses: array[int] = array("i")
        self._outcome_names: list[str] = []
        self._address_names: list[str] = []
        self.open: dict[int, tuple[int, int]] = {}
        self.recent: deque[Recent] = deque(maxlen=_RECENT)
        self.lost = 0
        # The last words of each way to fail.
        self.words: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def note(self, due_ns: int, sent_ns: int, ended_ns: int, outcome: str, address: str = "", words: str = "") -> None:
        """What became of a question, or what came by itself."""
        self._due_ns.append(due_ns)
        self._sent_ns.append(sent_ns)
        self._ended_ns.append(ended_ns)
        self._outcomes.append(_index(self._outcome_names, outcome))
        self._addresses.append(_index(self._address_names, address))
        self.counts[outcome] += 1
        if words:
            self.words[outcome] = words
        if outcome != "lost":
            self.recent.append(Recent(due_ns, ended_ns, outcome in ("good", "heard")))

    def note_lost(self, now_ns: int) -> None:
        """A connection that was kept is lost."""
        self.note(now_ns, now_ns, now_ns, "lost")

    def note_open(self) -> None:
        """The watch ends: what is still out stays unanswered."""
        for due_ns, sent_ns in self.open.values():
            self.note(due_ns, sent_ns, _NONE_NS, "open")
        self.open.clear()

    def ended_since(self, moment_ns: int) -> list[Recent]:
        """The questions that have ended since a moment; those that were due since are among them."""
        return list(takewhile(lambda question: question.ended_ns >= moment_ns, reversed(self.recent)))

    @property
    def oldest_open_ns(self) -> int | None:
        """The moment at which the question was due that is out for longest; None when none is."""
        # Questions are put in the order in which they are due, and a dict keeps it.
        return next(iter(self.open.values()))[0] if self.open else None

    def frame(self, position: int) -> pl.DataFrame:
        """All of it, as a series."""
        return pl.DataFrame(
            {
                "check": [position] * len(self._due_ns), "due_ns": self._due_ns, "sent_ns": self._sent_ns,
                "ended_ns": [None if ended_ns == _NONE_NS else ended_ns for ended_ns in self._ended_ns],
                "outcome": [self._outcome_names[index] for index in self._outcomes],
                "address": [self._address_names[index] or None for index in self._addresses],
            },
            schema=CHECKS_SCHEMA,
        )  # fmt: skip


def _index(names: list[str], name: str) -> int:
    # There are few, so a list is searched faster than anything else.
    if name not in names:
        names.append(name)
    return names.index(name)


def whole_frame(logs: Sequence[CheckLog]) -> pl.DataFrame:
    """All checks' questions, in the order in which they were due."""
    frames = chain([pl.DataFrame(schema=CHECKS_SCHEMA)], (log.frame(position) for position, log in enumerate(logs)))
    return pl.concat(frames).sort("check", "due_ns", maintain_order=True)
