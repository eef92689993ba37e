"""Results as data frames; they need no root, no libvirt and no lab."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from whimbrel.analysis.figures import TrialFigures
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import TrialRecord
from whimbrel.report.content import Report, report_of
from whimbrel.report.export import TABLES, tables_of
from whimbrel.report.load import ReportedTrial, load_trials

if TYPE_CHECKING:
    from whimbrel.report.charts import NamedChart


class Results:
    """The results of a campaign, or of one move by ``migrate``; read once, when a table or a figure is first asked for.

    Every table is a Polars data frame, with a row per trial, viewer, and so on; its columns end with their units.
    """

    def __init__(self, campaign: CampaignFolder) -> None:
        self.folder = campaign.folder
        self._campaign = campaign

    @property
    def trials(self) -> pl.DataFrame:
        """A row per trial: its arm, hosts, outcome and figures."""
        return self.table("trials")

    @property
    def viewers(self) -> pl.DataFrame:
        """A row per viewer of a trial: the longest silence that it saw, and the like."""
        return self.table("viewers")

    def table(self, name: str) -> pl.DataFrame:
        """``trials``, ``viewers``, ``playbacks``, ``predictions`` or ``instruments``; UsageError for any other name."""
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}", resolution=f"there are: {', '.join(TABLES)}")
        return self._tables[name]

    def series(self, trial: int, name: str) -> pl.DataFrame | None:
        """What an instrument saw in a trial: ``hosts``, ``probe``, ``packets``, ``job``, ...; None when it had no part.

        Times are on the monotonic clock of the machine that measured, in ns.
        """
        return self._campaign.trial(trial).series(name)

    def record(self, trial: int) -> TrialRecord:
        """The raw record of a trial; UsageError when there is none of this number."""
        return self._trial(trial).stored.record

    def figures(self, trial: int) -> TrialFigures:
        """All that is derived from a trial; a figure that is not known is None."""
        return self._trial(trial).figures

    @property
    def succeeded(self) -> bool:
        """Whether every trial moved its guest (or let it stay) and was measured to its end."""
        return all(trial.stored.record.outcome.succeeded for trial in self._trials)

    def _trial(self, number: int) -> ReportedTrial:
        found = next((trial for trial in self._trials if trial.stored.record.plan.order == number), None)
        if found is None:
            raise UsageError(f"{self.folder} has no trial {number}", resolution=f"it has {len(self._trials)} trials")
        return found

    @cached_property
    def _trials(self) -> list[ReportedTrial]:
        return load_trials(self._campaign)

    @cached_property
    def _tables(self) -> dict[str, pl.DataFrame]:
        return tables_of(self.folder.resolve().name, self._trials)

    @cached_property
    def charts(self) -> dict[str, NamedChart]:
        """The charts of the page, by the names of their files."""
        # They take a third of a second to import, which only those who want them should pay.
        from whimbrel.report.layout import charts_of

        return {chart.name: chart for chart in charts_of(self._report)}

    @cached_property
    def _report(self) -> Report:
        return report_of(self._campaign, self._trials)

    def _repr_html_(self) -> str:
        from whimbrel.report.notebook import results_html

        return results_html(self._report, str(self.folder))

    def __repr__(self) -> str:
        return f"<Results of {self._campaign.spec.name}: {self._campaign.made} trials in {self.folder}>"


def open_results(folder: Path | str) -> Results:
    """What ``run`` has written into a folder, or ``migrate`` with ``out``; UsageError when there is nothing of the kind."""
    return Results(CampaignFolder.open(Path(folder)))
