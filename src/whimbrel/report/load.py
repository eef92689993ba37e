"""A campaign's trials with what is derived from them: always from the records, and kept beside them for other programs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.analysis.counting import Trialled, counting
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.records.store import CampaignFolder, StoredTrial, write_json

_DERIVED = "derived.json"


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


def load_trials(folder: CampaignFolder, buffers_s: Sequence[float] = ()) -> list[ReportedTrial]:
    """Every whole trial of a campaign, in the order they were made; ``buffers_s`` as for ``derive``."""
    found = [ReportedTrial(stored, figures_of(stored, buffers_s)) for stored in folder.trials()]
    if not buffers_s:
        for trial in found:
            # Results of another user are shown, not written.
            with contextlib.suppress(OSError):
                write_json(trial.stored.folder / _DERIVED, json.loads(trial.figures.model_dump_json()), lasting=False)
    return found
