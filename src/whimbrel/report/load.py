"""A campaign's trials with what is derived from them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from whimbrel.analysis.counting import Trialled, counting
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.analysis.kept import kept_figures
from whimbrel.records.store import CampaignFolder, StoredTrial

Counted = Callable[[int], None]


@dataclass(frozen=True)
class ReportedTrial:
    """A stored trial and its figures."""

    stored: StoredTrial
    figures: TrialFigures

    @property
    def trialled(self) -> Trialled:
        """The pair that the summary wants."""
        return Trialled(self.stored.record, self.figures)


def load_trial(folder: CampaignFolder, number: int, buffers_s: Sequence[float] = ()) -> ReportedTrial:
    """One trial by its number; UsageError when there is none. ``buffers_s`` as for ``derive``."""
    return _reported(folder.trial(number), buffers_s)


def _reported(stored: StoredTrial, buffers_s: Sequence[float]) -> ReportedTrial:
    return ReportedTrial(stored, figures_of(stored, buffers_s) if buffers_s else kept_figures(stored))


def counting_of(trials: Sequence[ReportedTrial]) -> list[ReportedTrial]:
    """The trials that count (``analysis.counting``)."""
    kept = {trial.record.plan.order for trial in counting([trial.trialled for trial in trials])}
    return [trial for trial in trials if trial.stored.record.plan.order in kept]


def load_trials(
    folder: CampaignFolder, buffers_s: Sequence[float] = (), told: Counted = lambda done: None
) -> list[ReportedTrial]:
    """Every whole trial of a campaign, in the order they were made; ``buffers_s`` as for ``derive``.

    ``told`` hears how many there are by now: reading thousands takes a while, and deriving what is not kept takes minutes.
    """
    found: list[ReportedTrial] = []
    with _no_search_for_cycles():
        for stored in folder.each_trial():
            found.append(_reported(stored, buffers_s))
            told(len(found))
    return found


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Python would look through all records again and again as they become more, for cycles that they do not have."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()
