"""Charts of what a campaign shows: ratios with their intervals, every trial of every arm, and the order they were made in."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import altair as alt
import numpy as np

from whimbrel.analysis.evidence import Evidence, Finding
from whimbrel.report.charts import WIDTH, NamedChart, inline, named
from whimbrel.report.load import ReportedTrial, counting_of
from whimbrel.report.rows import Rows
from whimbrel.report.sampling import MOST_DOTS, evenly, of_all

_FIGURES = {
    "total_s": "total migration time (s)",
    "qemu_downtime_ms": "QEMU downtime (ms)",
    "libvirt_downtime_ms": "libvirt downtime (ms)",
    "blackout_ms": "blackout (ms)",
    "reachability_gap_ms": "reachability gap (ms)",
    "service_gap_ms": "service gap (ms)",
    "transferred_bytes": "bytes transferred",
    "link_bytes": "bytes on the source's link",
    "source_cpu_s": "CPU of the source (s)",
    "destination_cpu_s": "CPU of the destination (s)",
}
_COUNTED = alt.Scale(domain=["counts", "warm-up", "left out"], range=["#4c78a8", "#b8c2cc", "#e45756"])


def evidence_charts(evidence: Evidence, trials: Sequence[ReportedTrial]) -> list[NamedChart]:
    """The forest plot once there are verdicts, and the trials behind it."""
    charts = [_forest(evidence)] if evidence.findings else []
    rows = _trial_rows(trials, evidence.spec.figure)
    if not rows:
        return charts
    shown = _shown(rows)
    return [*charts, _dots(rows, shown, evidence.spec.figure), _order(shown, len(rows), evidence.spec.figure)]


def _shown(rows: Rows) -> Rows:
    """Those that have a dot: first of all what was left out, and of the others every so many."""
    left_out = [row for row in rows if row["counted"] == "left out"][: MOST_DOTS // 2]
    others = [row for row in rows if row["counted"] != "left out"]
    return sorted([*left_out, *evenly(others, MOST_DOTS - len(left_out))], key=itemgetter("order"))


def _forest(evidence: Evidence) -> NamedChart:
    rows = [_ratio_row(finding) for finding in evidence.findings]
    margin, confidence = evidence.spec.margin, 1 - evidence.spec.error
    order = [row["hypothesis"] for row in rows]
    y = alt.Y("hypothesis:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    known = [row[end] for row in rows for end in ("low", "high", "ratio") if row[end] is not None]
    domain = [min([*known, 1 / (1 + margin)]) / 1.03, max([*known, 1 + margin]) * 1.03]
    x = alt.X("ratio:Q", title="ratio (logarithmic)", scale=alt.Scale(type="log", domain=domain, nice=False))
    base = alt.Chart(inline(rows))
    band = alt.Chart(inline([{"from": 1 / (1 + margin), "to": 1 + margin}])).mark_rect(color="#e3eef8")
    one = alt.Chart(inline([{"one": 1.0}])).mark_rule(color="#777777", strokeDash=[3, 3])
    chart = alt.layer(
        band.encode(x=alt.X("from:Q", scale=alt.Scale(type="log", domain=domain, nice=False)), x2="to:Q"),
        one.encode(x="one:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=_verdict_colour()),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=_verdict_colour(), tooltip=["hypothesis:N", "verdict:N", "ratio:Q", "low:Q", "high:Q", "blocks:Q"]
        ),
    ).properties(width=WIDTH - 260, height=34 * len(rows) + 10)
    caption = (
        f"Ratios within blocks with their {100 * confidence:g} % intervals; the band is equivalence within {margin:.0%}. "
        "An interval that leaves out 1 is a difference only if it still is one among all hypotheses (Holm)."
    )
    return named("ratios", "Ratios", caption, chart)


def _verdict_colour() -> alt.Color:
    verdicts = ["different", "different, but within the margin", "equivalent", "undecided"]
    return alt.Color(
        "verdict:N", title=None, scale=alt.Scale(domain=verdicts, range=["#e45756", "#f2a541", "#54a24b", "#9aa5b1"])
    )


def _ratio_row(finding: Finding) -> dict[str, Any]:
    verdict = finding.verdict
    if verdict.different:
        said = "different, but within the margin" if verdict.equivalent else "different"
    else:
        said = "equivalent" if verdict.equivalent else "undecided"
    interval = verdict.ratio.interval
    return {
        "hypothesis": f"{finding.hypothesis.name}: {finding.hypothesis.arm} over {finding.hypothesis.over}",
        "verdict": said,
        "ratio": _rounded(verdict.ratio.ratio),
        "low": _rounded(interval.low) if interval else None,
        "high": _rounded(interval.high) if interval else None,
        "blocks": verdict.ratio.blocks,
    }


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None else None


def _trial_rows(trials: Sequence[ReportedTrial], figure: str) -> Rows:
    """A row per trial that has the figure. A spoilt trial's whole block is left out, as it is everywhere on the page."""
    counting = {trial.stored.record.plan.order for trial in counting_of(trials)}
    rows: Rows = []
    for trial in trials:
        value = trial.figures.value(figure)
        if value is not None:
            plan = trial.stored.record.plan
            counted = "counts" if plan.order in counting else "left out" if plan.counts else "warm-up"
            rows.append({"arm": plan.arm, "order": plan.order, "block": plan.block, "value": round(float(value), 4),
                         "counted": counted, "way": f"{plan.source} to {plan.destination}"})  # fmt: skip
    return rows


def _medians(rows: Rows) -> Rows:
    """Of each arm the median of the trials that count, and between which figures half of them lie."""
    counting: dict[str, list[float]] = {}
    for row in rows:
        if row["counted"] == "counts":
            counting.setdefault(row["arm"], []).append(row["value"])
    rows = []
    for arm, values in counting.items():
        low, median, high = (round(float(found), 4) for found in np.quantile(values, [0.25, 0.5, 0.75]))
        rows.append({"arm": arm, "low": low, "median": median, "high": high})
    return rows


def _dots(rows: Rows, shown: Rows, figure: str) -> NamedChart:
    y = alt.Y("arm:N", title=None, sort=list(dict.fromkeys(row["arm"] for row in rows)))
    title = _FIGURES[figure]
    dots = alt.Chart(inline(shown)).encode(y=y)
    dots = dots.mark_circle(size=45, opacity=0.7).encode(
        x=alt.X("value:Q", title=title, scale=alt.Scale(zero=False)),
        color=alt.Color("counted:N", title=None, scale=_COUNTED),
        tooltip=["arm:N", "order:Q", "block:Q", "value:Q", "way:N", "counted:N"],
    )
    base = alt.Chart(inline(_medians(rows))).encode(y=y)
    halves = base.mark_bar(height=10, color="#1d2733", opacity=0.18).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    middle = base.mark_tick(thickness=2, color="#1d2733", height=18).encode(x=alt.X("median:Q", title=title))
    chart = (halves + dots + middle).properties(width=WIDTH - 160, height={"step": 30})
    caption = "A dot per trial; of those that count a line at the median, and a bar over the middle half."
    return named("every-trial", "Every trial", caption + of_all(len(shown), len(rows)), chart)


def _order(shown: Rows, there_are: int, figure: str) -> NamedChart:
    chart = (
        alt.Chart(inline(shown))
        .mark_point(filled=True, size=55, opacity=0.8)
        .encode(
            x=alt.X("order:Q", title="order in which they were made"),
            y=alt.Y("value:Q", title=_FIGURES[figure], scale=alt.Scale(zero=False)),
            color=alt.Color("arm:N", title=None),
            shape=alt.Shape("counted:N", title=None),
            tooltip=["arm:N", "order:Q", "block:Q", "value:Q", "way:N", "counted:N"],
        )
        .properties(width=WIDTH - 160, height=260)
    )
    caption = f"A slope or a step that all arms share is the machine's drift.{of_all(len(shown), there_are)}"
    return named("run-order", "Trials in their order", caption, chart)
