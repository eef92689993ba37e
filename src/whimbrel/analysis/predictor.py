"""How well a campaign's moves were predicted before they were made: predicted against measured. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import TrialFigures
from whimbrel.records.trial import Expected, Prediction

# A move that was stopped, aborted or switched by one of our own limits would not have ended by itself.
_LIMITS = ("stop and copy", "abort", "post-copy")


@dataclass(frozen=True)
class Compared:
    """A figure of one trial, predicted and measured, in the same unit; ``inside`` its interval or not."""

    trial: int
    arm: str
    figure: str
    expected: Expected
    measured: float

    @property
    def error(self) -> float | None:
        """The expected value's error as a share of what was measured, signed; None when that is 0."""
        return self.expected.middle / self.measured - 1 if self.measured else None

    @property
    def inside(self) -> bool:
        """Whether what was measured lies in the interval."""
        return self.expected.least <= self.measured <= self.expected.most


@dataclass(frozen=True)
class Judged:
    """Whether a move would end by itself: as predicted (None: left open), and as it was."""

    trial: int
    arm: str
    predicted: bool | None
    ended: bool

    @property
    def wrong(self) -> bool:
        """Whether it was said and was not so."""
        return self.predicted is not None and self.predicted != self.ended


@dataclass(frozen=True)
class Accuracy:
    """One figure over many trials: absolute errors as shares of what was measured, and how many intervals held."""

    figure: str
    trials: int
    median_error: float | None
    p95_error: float | None
    bias: float | None
    covered: float
    typical_width: float | None

    @property
    def words(self) -> str:
        """What was found, as one line of prose."""
        if self.median_error is None or self.p95_error is None:
            return f"Predicted {self.figure}: nothing to compare with."
        return (
            f"Predicted {self.figure}: off by {self.median_error:.1%} (median), {self.p95_error:.1%} (95th percentile)"
            f" of {self.trials} moves; {self.covered:.0%} lay inside the interval."
        )


@dataclass(frozen=True)
class PredictorRecord:
    """The predictor's record: its figures, and its verdicts."""

    accuracies: tuple[Accuracy, ...]
    judged: tuple[Judged, ...]

    @property
    def wrong(self) -> list[Judged]:
        """The verdicts that were wrong."""
        return [verdict for verdict in self.judged if verdict.wrong]

    @property
    def verdict(self) -> str:
        """Whether moves would end by themselves: how many were foreseen rightly, left open, and foreseen wrongly."""
        if not self.judged:
            return "Of no move it was predicted whether it converges."
        right = len(self.judged) - len(self.wrong) - self.open
        said = f"Will it converge? Of {len(self.judged)} pre-copy moves: {right} foreseen rightly, {self.open} left open"
        trials = ", ".join(f"{verdict.trial} ({verdict.arm})" for verdict in self.wrong)
        return f"{said}, {len(self.wrong)} foreseen wrongly: {trials}." if trials else f"{said}, none foreseen wrongly."

    @property
    def words(self) -> list[str]:
        """What a terminal says, line by line."""
        return [self.verdict, *(accuracy.words for accuracy in self.accuracies)]

    @property
    def open(self) -> int:
        """How many verdicts were left open."""
        return sum(verdict.predicted is None for verdict in self.judged)


def record_of(trials: Sequence[Trialled]) -> PredictorRecord | None:
    """Of every trial that was predicted, whether it counts or not; None when none was."""
    judged = [found for trial in trials if (found := judge(trial)) is not None]
    compared = [found for trial in trials for found in compare(trial)]
    if not judged and not compared:
        return None
    names = list(dict.fromkeys(found.figure for found in compared))
    return PredictorRecord(
        tuple(accuracy(name, [each for each in compared if each.figure == name]) for name in names), tuple(judged)
    )


def compare(trial: Trialled) -> list[Compared]:
    """Every figure of one trial that was both predicted and measured."""
    prediction, figures, plan = trial.record.prediction, trial.figures, trial.record.plan
    if prediction is None or not figures.measured:
        return []
    found = []
    for name, (expected, measured) in _FIGURES.items():
        wished, was = expected(prediction), measured(figures)
        if wished is not None and was is not None:
            found.append(Compared(plan.order, plan.arm, name, wished, was))
    return found


def judge(trial: Trialled) -> Judged | None:
    """Whether a pre-copy move ended by itself; None where that was not predicted, or the trial never came to its move's end.

    A move that ended by another failure than our limits' says nothing.
    """
    record = trial.record
    if record.prediction is None or record.move is None or record.spec.migration.technique != "pre-copy":
        return None
    limited = any(event.source == "whimbrel" and event.name in _LIMITS for event in record.events)
    if record.outcome.result != "moved" and not limited:
        return None
    return Judged(record.plan.order, record.plan.arm, record.prediction.converges, not limited)


def accuracy(figure: str, compared: Sequence[Compared]) -> Accuracy:
    """Median and 95th percentile of the absolute error, the median signed error, coverage, and the intervals' usual width.

    The width is that of the interval as a share of what is expected, half of it to each side: its median.
    """
    errors = np.array([each.error for each in compared if each.error is not None])
    widths = [(each.expected.most - each.expected.least) / 2 / each.expected.middle for each in compared if each.expected.middle]
    return Accuracy(
        figure=figure,
        trials=len(compared),
        median_error=float(np.median(np.abs(errors))) if errors.size else None,
        p95_error=float(np.quantile(np.abs(errors), 0.95)) if errors.size else None,
        bias=float(np.median(errors)) if errors.size else None,
        covered=sum(each.inside for each in compared) / len(compared),
        typical_width=float(np.median(widths)) if widths else None,
    )


def _s(figure_ms: float | None) -> float | None:
    return figure_ms / 1e3 if figure_ms is not None else None


_FIGURES: dict[str, tuple[Callable[[Prediction], Expected | None], Callable[[TrialFigures], float | None]]] = {
    "total": (lambda said: said.total_s, lambda figures: figures.total_s),
    "downtime": (lambda said: said.downtime_s, lambda figures: _s(figures.qemu_downtime_ms)),
    "blackout": (lambda said: said.blackout_s, lambda figures: _s(figures.blackout_ms)),
    "reachability gap": (lambda said: said.reachability_gap_s, lambda figures: _s(figures.reachability_gap_ms)),
    "service gap": (lambda said: said.service_gap_s, lambda figures: _s(figures.service_gap_ms)),
    "bytes sent": (lambda said: said.sent_bytes, lambda figures: figures.transferred_bytes),
}
