"""A campaign's trials with what is derived from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whimbrel.analysis.counting import Trialled, counting
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.analysis.kept import kept_figures
from whimbrel.records.store import CampaignFolder, StoredTrial

Told = Callable[[int], None]


@dataclass(frozen=True)
class ReportedTrial:
    """A stored trial and its figures."""

    stored: StoredTrial
    figures: TrialFigures

    @property
    def trialled(self) -> Trialled:
        """The pair that the summary wants."""
        return Trialled(self.stored.record, self.figures)


def counting_of(trials: Sequence[ReportedTrial]) -> list[ReportedTrial]:
    """Those that count (``analysis.counting``)."""
    kept = {trial.record.plan.order for trial in counting([trial.trialled for trial in trials])}
    return [trial for trial in trials if trial.stored.record.plan.order in kept]


def load_trials(folder: CampaignFolder, buffers_s: Sequence[float] = (), told: Told = lambda done: None) -> list[ReportedTrial]:
    """Every whole trial of a campaign, in the order they were made; ``buffers_s`` as for ``derive``.

    ``told`` hears how many there are by now: reading thousands takes a while, and deriving what is not kept takes minutes.
    """
    found: list[ReportedTrial] = []
    for stored in folder.each_trial():
        found.append(ReportedTrial(stored, figures_of(stored, buffers_s) if buffers_s else kept_figures(stored)))
        told(len(found))
    return found
