"""A watch as one page that works offline: the gap table first, then one timeline with a row per check."""

from __future__ import annotations

import shlex
from pathlib import Path

import altair as alt

from whimbrel.records.caller import write_file
from whimbrel.report.charts import WIDTH, NamedChart, inline, named
from whimbrel.report.layout import bundle, inlined, templates
from whimbrel.watch.findings import Findings
from whimbrel.watch.rows import columns_of, lines_of, timeline_rows

PAGE = "report.html"
_COLOURS = alt.Scale(
    domain=["answers", "late answers", "failures", "gap", "stall"],
    range=["#54a24b", "#f2a541", "#e45756", "#1d2733", "#8e44ad"],
)  # fmt: skip


def write_page(folder: Path, findings: Findings) -> Path:
    """Writes the page in one step; returns its file."""
    chart, columns = timeline_chart(findings), columns_of(findings)
    text = templates("whimbrel.watch").get_template("watch.html.j2").render(
        watched=findings.watched,
        command=shlex.join(findings.watched.plan.command),
        columns=columns,
        lines=lines_of(findings, columns),
        flags=[
            (check.name, flag)
            for check, flags in zip(findings.watched.plan.checks, findings.flags, strict=True)
            for flag in flags
        ],
        words=[
            (check.name, way, words)
            for check, said in zip(findings.watched.plan.checks, findings.watched.words, strict=True)
            for way, words in sorted(said.items())
        ],
        ticks=findings.ticks,
        chart=chart,
        bundle=bundle(),
        spec=inlined(chart),
    )  # fmt: skip
    write_file(folder / PAGE, text.encode(), lasting=False)
    return folder / PAGE


def timeline_chart(findings: Findings) -> NamedChart:
    """A row per check, the move as a band over all of them, marks as lines."""
    watched = findings.watched
    rows = timeline_rows(findings)
    order = [f"{position + 1} {check.name}" for position, check in enumerate(watched.plan.checks)]
    x = alt.X("from_s:Q", title="seconds since the watch began", scale=alt.Scale(nice=False))
    parts = alt.Chart(inline(rows)).encode(
        x=x, x2="to_s:Q", y=alt.Y("check:N", sort=order, title=None, axis=alt.Axis(labelLimit=320)),
        color=alt.Color("part:N", scale=_COLOURS, title=None),
        tooltip=["check:N", "part:N", alt.Tooltip("from_s:Q", format=".3f"), alt.Tooltip("to_s:Q", format=".3f"), "count:Q"],
    )  # fmt: skip
    layers = [
        parts.transform_filter("datum.part != 'gap' && datum.part != 'stall'").mark_bar(height=12, clip=True),
        parts.transform_filter("datum.part == 'gap'").mark_bar(height=3, clip=True),
        parts.transform_filter("datum.part == 'stall'").mark_bar(height=3, yOffset=7, clip=True),
    ]
    move = [
        {"from_s": (moment_ns - watched.window.began_ns) / 1e9, "what": what}
        for what, moment_ns in (("move begins", watched.window.from_ns), ("move ends", watched.window.to_ns))
        if moment_ns is not None
    ]
    marks = [{"from_s": (mark.t_ns - watched.window.began_ns) / 1e9, "what": mark.text} for mark in watched.marks]
    for lines, colour in ((move, "#4c78a8"), (marks, "#b279a2")):
        if lines:
            rule = alt.Chart(inline(lines)).mark_rule(color=colour, strokeWidth=1.5, strokeDash=[4, 2])
            layers.append(rule.encode(x=x, tooltip=["what:N", alt.Tooltip("from_s:Q", format=".3f")]))
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    chart = alt.layer(*layers).properties(width=WIDTH, height=alt.Step(20)).add_params(zoom)
    caption = (
        "Each colour is the worst that happened in that moment; a dark line is a gap longer than what was usual, a violet one a "
        "stall of the stream's player. Dashed blue: the move's start and end. Drag to pan, scroll to zoom, double-click to reset."
    )
    return named("timeline", "What each check saw", caption, chart)
