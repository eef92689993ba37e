"""Results and moves as a notebook shows them: HTML without a style of its own, with nothing of others in it unescaped."""

from __future__ import annotations

from whimbrel.analysis.figures import TrialFigures
from whimbrel.records.trial import TrialRecord
from whimbrel.report.content import Report
from whimbrel.report.layout import templates
from whimbrel.report.quantities import spoken, written

_FIGURES = ("total_s", "qemu_downtime_ms", "blackout_ms", "reachability_gap_ms", "service_gap_ms", "transferred_bytes")


def results_html(report: Report, folder: str) -> str:
    """What is to be known of a campaign first: how much of it there is, its limits and verdicts, and what the moves cost."""
    return templates("whimbrel.report").get_template("results.html.j2").render(report=report, folder=folder)


def move_html(record: TrialRecord, figures: TrialFigures) -> str:
    """How a move ended, what it took, and its phases."""
    values = [(spoken(key), written(key, getattr(figures, key), figures.at_least(key))) for key in _FIGURES]
    phases = [(phase.name, written("length_s", phase.length_s)) for phase in figures.phases]
    return templates("whimbrel.report").get_template("move.html.j2").render(record=record, values=values, phases=phases)
