"""A campaign's trials with what is derived from them; what was derived before is read again, not computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from whimbrel.analysis.figures import DERIVED_VERSION, TrialFigures, derive
from whimbrel.analysis.summary import Trialled
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


def load_trials(folder: CampaignFolder, progress: Callable[[str], None] = lambda text: None) -> list[ReportedTrial]:
    """Every whole trial of a campaign, in the order they were made."""
    found = []
    for stored in folder.trials():
        progress(stored.folder.name)
        found.append(ReportedTrial(stored, figures_of(stored)))
    return found


def figures_of(stored: StoredTrial) -> TrialFigures:
    """The trial's figures: from ``derived.json`` when it is of this version, else computed and, where allowed, kept there."""
    file = stored.folder / _DERIVED
    try:
        kept = TrialFigures.model_validate_json(file.read_text())
        if kept.derived_version == DERIVED_VERSION:
            return kept
    except (OSError, ValidationError):
        pass  # not there, or from another version: derived again
    figures = derive(stored.record, *(stored.series(name) for name in ("hosts", "probe", "packets", "job")))
    try:
        write_json(file, json.loads(figures.model_dump_json()))
    except OSError:
        return figures  # results of another user: shown, not kept
    return figures
