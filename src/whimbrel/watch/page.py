"""A watch as one page that works offline: the gap table first, then one timeline with a row per check."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import altair as alt

from whimbrel.analysis.thresholds import Tick
from whimbrel.records.caller import write_file
from whimbrel.report.charts import WIDTH, NamedChart, inline, named
from whimbrel.report.layout import bundle, inlined, style, templates
from whimbrel.watch.findings import Findings, host_notes
from whimbrel.watch.rows import (
    HOST_COLUMNS,
    columns_of,
    engine_words,
    host_lines,
    lines_of,
    phase_rows,
    timeline_rows,
    whole_window,
)
from whimbrel.watch.several_rows import several_columns, several_lines

PAGE = "report.html"
_COLOURS = alt.Scale(
    domain=["answers", "late answers", "failures", "gap", "stall", "phase"],
    range=["#54a24b", "#f2a541", "#e45756", "#1d2733", "#8e44ad", "#72a0c1"],
)  # fmt: skip


def write_page(folder: Path, findings: Sequence[Findings], ticks: Sequence[Tick]) -> Path:
    """Writes the page in one step; returns its file."""
    chart, columns, plan = timeline_chart(findings), columns_of(findings), findings[0].watched.plan
    text = templates("whimbrel.watch").get_template("watch.html.j2").render(
        style=style(),
        plan=plan,
        moves=[each.watched for each in findings],
        watched=findings[0].watched,
        window=whole_window(findings),
        command=shlex.join(plan.command),
        several_columns=several_columns(findings),
        several_lines=several_lines(findings) if plan.several else [],
        columns=columns,
        lines=[(each.watched.turn, line) for each in findings for line in lines_of(each, columns)],
        flags=[line for each in findings for line in _flags(each)],
        words=[
            (check.name, way, words)
            for check, said in zip(plan.checks, findings[0].watched.words, strict=True)
            for way, words in sorted(said.items())
        ],
        engines=[(each.watched.turn, words) for each in findings if (words := engine_words(each))],
        host_columns=HOST_COLUMNS,
        host_lines=[line for each in findings for line in host_lines(each)],
        ticks=ticks,
        chart=chart,
        bundle=bundle(),
        spec=inlined(chart),
    )  # fmt: skip
    write_file(folder / PAGE, text.encode(), lasting=False)
    return folder / PAGE


def _flags(findings: Findings) -> list[str]:
    """Notes of a move, and what makes its figures doubtful."""
    watched = findings.watched
    before = f"{watched.turn.words}: " if watched.plan.several else ""
    of_checks = [
        f"{check.name}: {flag}" for check, flags in zip(watched.plan.checks, findings.flags, strict=True) for flag in flags
    ]
    return [f"{before}{line}" for line in [*host_notes(findings), *watched.notes, *of_checks]]


def _moments(findings: Sequence[Findings], began_ns: int) -> list[tuple[str, list[dict[str, object]]]]:
    """Starts and ends of moves, and marks, each with its colour."""
    moves, marks = [], []
    for watched in (each.watched for each in findings):
        name = watched.turn.words if watched.plan.several else "move"
        ends = ((f"{name} begins", watched.window.from_ns), (f"{name} ends", watched.window.to_ns))
        moves += [{"from_s": (moment_ns - began_ns) / 1e9, "what": what} for what, moment_ns in ends if moment_ns is not None]
        marks += [{"from_s": (mark.t_ns - began_ns) / 1e9, "what": mark.text} for mark in watched.marks]
    return [("#4c78a8", moves), ("#b279a2", marks)]


def timeline_chart(findings: Sequence[Findings]) -> NamedChart:
    """A row per check, each move between two lines over all of them, marks as lines."""
    phases, began_ns = phase_rows(findings), whole_window(findings).began_ns
    rows = phases + timeline_rows(findings)
    order = list(dict.fromkeys(row["check"] for row in phases))
    order += [f"{position + 1} {check.name}" for position, check in enumerate(findings[0].watched.plan.checks)]
    x = alt.X("from_s:Q", title="seconds since the watch began", scale=alt.Scale(nice=False))
    thin = {part: [row for row in rows if row["part"] == part] for part in ("gap", "stall")}
    wide = [row for row in rows if row["part"] not in thin]
    bars = [(wide, 12, 0), (thin["gap"], 3, 0), (thin["stall"], 3, 7)]
    # A layer without rows would be heard by whoever hears the page, and has no extent.
    layers = [
        alt.Chart(inline(part)).mark_bar(height=height, yOffset=lower, clip=True).encode(
            x=x, x2="to_s:Q", y=alt.Y("check:N", sort=order, title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("part:N", scale=_COLOURS, title=None),
            tooltip=["check:N", "part:N", alt.Tooltip("from_s:Q", format=".3f"), alt.Tooltip("to_s:Q", format=".3f"), "count:Q"],
        )
        for part, height, lower in bars
        if part
    ]  # fmt: skip
    for colour, lines in _moments(findings, began_ns):
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
