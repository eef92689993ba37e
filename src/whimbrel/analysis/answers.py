"""What the users of a service lost, from the questions of one check. Pure; computed from moments, never from counts.

A question counts from when it was *due*, so that a stall is seen by all that should have been sent in it. One that was not
answered took longer than any other: a percentile that falls among those is not known. Percentiles also take as many questions
as bear them (``intervals.least_for_quantile``): 59 for p95, 299 for p99.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from whimbrel.analysis.gaps import Moments, Recording, Silence
from whimbrel.analysis.holes import largest_hole
from whimbrel.analysis.intervals import least_for_quantile
from whimbrel.analysis.streams import StreamFigures

PHASES = ("before", "during", "after")
_GOOD = ("good", "heard")
_NO_QUESTIONS = ("heard", "lost", "not-sent")
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_LEAST_FOR_MEDIAN = 3


@dataclass(frozen=True)
class Window:
    """A watch, in ns: from its first question to its last, and within it the move; both ends of it None where there was none."""

    began_ns: int
    from_ns: int | None
    to_ns: int | None
    ended_ns: int

    @property
    def move(self) -> tuple[int, int]:
        """The move; the whole watch where there was none."""
        return (self.began_ns if self.from_ns is None else self.from_ns, self.ended_ns if self.to_ns is None else self.to_ns)

    def phase(self, name: str) -> tuple[int, int]:
        """Says from when to when a phase lasted."""
        from_ns, to_ns = self.move
        return {"before": (self.began_ns, from_ns), "during": (from_ns, to_ns), "after": (to_ns, self.ended_ns)}[name]


@dataclass(frozen=True)
class Latency:
    """In seconds; what n questions do not bear, or was not answered, is None. ``max`` is of those that were answered."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Lateness:
    """How late questions were sent, in seconds, by our own fault."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class CheckFigures:
    """What one check found.

    ``longest_gap_s`` is the longest time between two good answers from the move's start on, None when it is not known: then
    ``longest_gap_at_least_s`` may say how long it was at least. What stopped or came back did so up to ``gap_resolution_s``
    before or after. ``usual_gap_s`` is the longest gap before the move. ``disturbances`` are all silences that stand out.
    ``stream`` is what its player would have shown, None where it plays none.
    """

    sent: int
    failed: int
    failures: dict[str, int]
    not_sent: int
    unanswered_at_end: int
    longest_gap_s: float | None
    longest_gap_at_least_s: float | None
    longest_gap: Silence | None
    gap_resolution_s: float | None
    usual_gap_s: float | None
    connections_lost: int
    first_good_after_s: float | None
    latency_s: dict[str, Latency]
    answers_per_s: dict[str, float | None]
    lateness_s: Lateness | None
    addresses: dict[str, int]
    disturbances: list[Silence] = field(default_factory=list)
    stream: StreamFigures | None = None

    @property
    def stands_out(self) -> bool:
        """Whether the longest gap is longer than what was usual by more than it is known to; not known to be so: False."""
        gap_s = self.longest_gap_s if self.longest_gap_s is not None else self.longest_gap_at_least_s
        if gap_s is None or self.gap_resolution_s is None:
            return False
        return self.usual_gap_s is None or gap_s > self.usual_gap_s + self.gap_resolution_s


def figures_of(frame: pl.DataFrame, window: Window, period_s: float | None, holes: list[tuple[int, int]]) -> CheckFigures:
    """The figures of one check's questions (``series.CHECKS_SCHEMA``).

    ``period_s`` is the time between two questions, None for one that listens; ``holes`` are when our own loop stood still.
    """
    asked = frame.filter(~pl.col("outcome").is_in(_NO_QUESTIONS))
    bad = asked.filter(~pl.col("outcome").is_in([*_GOOD, "open"]))
    # Late answers are waited for when nothing is asked any more: what lies between them then says nothing.
    heard = frame.filter(pl.col("outcome").is_in(_GOOD) & (pl.col("ended_ns") <= window.ended_ns))
    answers = heard.get_column("ended_ns").sort().to_numpy()
    looks = asked.get_column("sent_ns").sort().to_numpy() if period_s is not None else None
    usual_ms = _usual_ms(answers, window)
    recording = Recording(answers, _end_ns(asked, answers, window, period_s, usual_ms))
    gap = recording.gap(window.move[0], min(window.ended_ns, recording.end_ns), usual_ms)
    silence = gap.silence or _open_silence(answers, recording, gap.at_least_ms)

    def known_to_s(each: Silence | None) -> float | None:
        return _resolution_s(answers, looks, each, period_s, holes)

    return CheckFigures(
        sent=asked.height,
        failed=bad.height,
        failures=dict(sorted(bad.get_column("outcome").value_counts().iter_rows())),
        not_sent=frame.filter(pl.col("outcome") == "not-sent").height,
        unanswered_at_end=asked.filter(pl.col("outcome") == "open").height,
        longest_gap_s=_s(gap.length_ms),
        longest_gap_at_least_s=_s(_at_least_ms(gap.length_ms, gap.at_least_ms, answers, asked, window)),
        longest_gap=silence,
        gap_resolution_s=known_to_s(silence),
        usual_gap_s=_s(usual_ms),
        connections_lost=frame.filter(pl.col("outcome") == "lost").height,
        first_good_after_s=_first_good_after_s(answers, window),
        latency_s={name: _latency(asked, *window.phase(name)) for name in PHASES},
        answers_per_s={name: _rate(answers, *window.phase(name)) for name in PHASES},
        lateness_s=_lateness(asked) if period_s is not None else None,
        addresses=_addresses(frame),
        disturbances=_disturbances(recording, usual_ms, known_to_s),
    )


def _end_ns(asked: pl.DataFrame, answers: Moments, window: Window, period_s: float | None, usual_ms: float | None) -> int:
    """Until when it was listened: no longer than to the last answer, where what was asked since was answered soon as well."""
    if period_s is None or not len(answers):
        return window.ended_ns
    last_ns = int(answers[-1])
    bad = ~pl.col("outcome").is_in(_GOOD) | (pl.col("ended_ns") - pl.col("sent_ns") > (usual_ms or 0.0) * 1e6)
    return window.ended_ns if asked.filter((pl.col("sent_ns") > last_ns) & bad).height else last_ns


def _usual_ms(answers: Moments, window: Window) -> float | None:
    """The longest silence before the move; where there was none, the longest among the shorter 99 in a hundred."""
    if window.from_ns is not None:
        return Recording(answers, window.ended_ns).usual_ms(window.from_ns)
    return float(np.quantile(np.diff(answers), 0.99)) / 1e6 if len(answers) >= least_for_quantile(0.95) else None


def _open_silence(answers: Moments, recording: Recording, at_least_ms: float | None) -> Silence | None:
    """The silence at the end, where it is the one that is known from below only."""
    if not len(answers) or at_least_ms is None:
        return None
    silence = Silence(int(answers[-1]), recording.end_ns)
    return silence if silence.length_ms == at_least_ms else None


def _at_least_ms(
    length_ms: float | None, at_least_ms: float | None, answers: Moments, asked: pl.DataFrame, window: Window
) -> float | None:
    """Where nothing was ever answered, the gap is as long as it was asked, at least."""
    if length_ms is not None or len(answers) or not asked.height:
        return at_least_ms
    first_ns = asked.select(pl.col("sent_ns").min()).item()
    return float(window.ended_ns - first_ns) / 1e6


def _resolution_s(
    answers: Moments, looks: Moments | None, silence: Silence | None, period_s: float | None, holes: list[tuple[int, int]]
) -> float | None:
    """How far the ends of a gap may be off: the longest time in it in which nothing was asked, or our own loop stood still."""
    if looks is None:
        spaces = np.diff(answers)
        usual_s = float(np.median(spaces)) / 1e9 if len(spaces) >= _LEAST_FOR_MEDIAN else None
        hole = None
    else:
        usual_s = period_s
        hole = largest_hole(looks, silence.from_ns, silence.to_ns) if silence is not None else None
    if usual_s is None:
        return None
    stood_ns = [
        min(hole_to, silence.to_ns) - max(hole_from, silence.from_ns)
        for hole_from, hole_to in holes
        if silence is not None and hole_from < silence.to_ns and hole_to > silence.from_ns
    ]
    return max([usual_s, hole.length_ms / 1e3 if hole is not None else 0.0, *(length / 1e9 for length in stood_ns)])


def _first_good_after_s(answers: Moments, window: Window) -> float | None:
    if window.to_ns is None:
        return None
    after = answers[answers >= window.to_ns]
    return float(after[0] - window.to_ns) / 1e9 if len(after) else None


def _latency(asked: pl.DataFrame, from_ns: int, to_ns: int) -> Latency:
    """Takes the latencies of the questions that were due in a phase."""
    due = asked.filter((pl.col("due_ns") >= from_ns) & (pl.col("due_ns") < to_ns))
    good = due.filter(pl.col("outcome") == "good")
    taken_s = ((good.get_column("ended_ns") - good.get_column("due_ns")) / 1e9).to_numpy()
    every_s = np.concatenate((taken_s, np.full(due.height - good.height, np.inf)))
    shares = {name: _quantile(every_s, share) for name, share in _SHARES.items()}
    return Latency(**shares, max=float(taken_s.max()) if len(taken_s) else None)


def _quantile(values: npt.NDArray[np.float64], share: float) -> float | None:
    if len(values) < least_for_quantile(share):
        return None
    # Between a number and one that is unbounded there is none: the higher of the two counts.
    with np.errstate(invalid="ignore"):
        found = float(np.quantile(values, share, method="median_unbiased"))
    return found if np.isfinite(found) else None


def _rate(answers: Moments, from_ns: int, to_ns: int) -> float | None:
    if to_ns <= from_ns:
        return None
    return float(((answers >= from_ns) & (answers < to_ns)).sum()) / ((to_ns - from_ns) / 1e9)


def _lateness(asked: pl.DataFrame) -> Lateness | None:
    if not asked.height:
        return None
    late_s = ((asked.get_column("sent_ns") - asked.get_column("due_ns")) / 1e9).to_numpy()
    p50, p99 = np.quantile(late_s, [0.5, 0.99])
    return Lateness(float(p50), float(p99), float(late_s.max()))


def _addresses(frame: pl.DataFrame) -> dict[str, int]:
    """Which addresses have answered, and how often, in the order in which they first did."""
    answered = frame.filter(pl.col("address").is_not_null()).get_column("address")
    return {str(address): int((answered == address).sum()) for address in answered.unique(maintain_order=True)}


def _disturbances(recording: Recording, usual_ms: float | None, known_to_s: Callable[[Silence], float | None]) -> list[Silence]:
    """Every silence that is longer than what was usual by more than it is known to, in its order; an open one at the end too."""
    if usual_ms is None or not len(recording.moments_ns):
        return []
    moments = np.append(recording.moments_ns, recording.end_ns)
    longer = (Silence(int(moments[at]), int(moments[at + 1])) for at in np.flatnonzero(np.diff(moments) > usual_ms * 1e6))
    return [each for each in longer if each.length_ms > usual_ms + 1e3 * (known_to_s(each) or 0.0)]


def _s(figure_ms: float | None) -> float | None:
    return figure_ms / 1e3 if figure_ms is not None else None
