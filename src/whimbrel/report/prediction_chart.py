"""Predicted against measured, as a chart."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from whimbrel.analysis.predictor import compare
from whimbrel.report.charts import NamedChart, inline, named
from whimbrel.report.load import ReportedTrial
from whimbrel.report.sampling import MOST_DOTS, evenly, of_all

_SIDE = 420


def prediction_chart(trials: Sequence[ReportedTrial]) -> NamedChart | None:
    """Total time, expected over measured; None when no move was both predicted and measured."""
    rows = [
        {
            "trial": found.trial,
            "arm": found.arm,
            "measured_s": round(found.measured, 3),
            "expected_s": round(found.expected.middle, 3),
            "least_s": round(found.expected.least, 3),
            "most_s": round(found.expected.most, 3),
        }
        for trial in trials
        for found in compare(trial.trialled)
        if found.figure == "total"
    ]
    if not rows:
        return None
    ends = [min(row["measured_s"] for row in rows), max(row["measured_s"] for row in rows)]  # type: ignore[type-var]
    x = alt.X("measured_s:Q", title="measured (s)", scale=alt.Scale(type="log", nice=False, padding=12))
    shown = evenly(rows, MOST_DOTS)
    base = alt.Chart(inline(shown))
    chart = (
        alt.Chart(inline([{"measured_s": end, "expected_s": end} for end in ends]))
        .mark_line(color="#9aa5b1", strokeDash=[4, 3])
        .encode(x=x, y=alt.Y("expected_s:Q", title="expected (s)", scale=alt.Scale(type="log", nice=False, padding=12)))
        + base.mark_rule(color="#9ecae9").encode(x=x, y="least_s:Q", y2="most_s:Q")
        + base.mark_circle(size=28, color="#4c78a8", opacity=0.8).encode(
            x=x, y="expected_s:Q", tooltip=["trial:N", "arm:N", "measured_s:Q", "expected_s:Q", "least_s:Q", "most_s:Q"]
        )
    ).properties(width=_SIDE, height=_SIDE)
    caption = "Total migration time: each move as it was expected, with its interval, over what was measured; equal on the line."
    caption += of_all(len(shown), len(rows))
    return named("predicted", "Predicted before the move, and measured", caption, chart)
