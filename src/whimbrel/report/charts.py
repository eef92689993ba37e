"""Every chart of the report, each defined once; page, PNG and SVG come from the same definition."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import vl_convert

from whimbrel.analysis.phases import PHASES, STORAGE
from whimbrel.report.load import ReportedTrial, counting_of
from whimbrel.report.rows import (
    KINDS_AT_REST,
    Rows,
    host_rows,
    label_of,
    packet_rows,
    phase_rows,
    rest_rows,
    total_medians,
    total_rows,
)
from whimbrel.report.sampling import MOST_DOTS, evenly, of_all

WIDTH = 860
_PNG_SCALE = 2
_CLIP_PATH = re.compile(r'(?<=["#])clip\d+(?=[")])')
_SHOWN_PHASES = [PHASES[0], STORAGE, *PHASES[1:]]
_PHASE_COLOURS = ["#9aa5b1", "#b279a2", "#4c78a8", "#e45756", "#f2a541", "#54a24b"]
_HOST_COLOURS = ["#4c78a8", "#f58518"]


@dataclass(frozen=True)
class NamedChart:
    """A chart, the name of its files, and what it shows; ``spec`` is Vega-Lite. Notebooks show it as it is."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any] = field(repr=False)

    @property
    def svg(self) -> str:
        """The chart as SVG, the same whatever was drawn before it: Vega numbers its clip paths over all charts of a process."""
        svg: str = vl_convert.vegalite_to_svg(self.spec, vl_version=_version())
        numbers: dict[str, str] = {}
        return _CLIP_PATH.sub(lambda found: numbers.setdefault(found[0], f"clip{len(numbers)}"), svg)

    @property
    def png(self) -> bytes:
        """The chart as PNG."""
        png: bytes = vl_convert.vegalite_to_png(self.spec, vl_version=_version(), scale=_PNG_SCALE)
        return png

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """What a notebook takes the best of: one to zoom and to point at, where it knows Vega-Lite, else the picture."""
        return {
            f"application/vnd.vegalite.v{_version().partition('.')[0]}+json": self.spec,
            "image/svg+xml": self.svg,
            "text/plain": f"{self.title}\n{self.caption}",
        }


def _version() -> str:
    return ".".join(re.findall(r"\d+", alt.SCHEMA_VERSION)[:2])


def inline(rows: Rows) -> dict[str, Any]:
    """Rows as a chart's data; not as ``alt.InlineData``, of which Altair checks every row: nothing else would take as long."""
    return {"values": rows}


def timeline_chart(trial: ReportedTrial, name: str, title: str, paper_figure: str | None) -> NamedChart:
    """Phases, CPU, memory, network, disk and packets of one trial on one axis that zooms as a whole."""
    hosts = trial.stored.record.hosts
    rows = host_rows(trial, hosts)
    colours = alt.Scale(domain=[label_of(host) for host in hosts], range=_HOST_COLOURS)
    extent = _extent(rows, trial)
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    x = alt.X("t_s:Q", title=None, scale=alt.Scale(domain=extent, nice=False))
    panels = [_phase_panel(trial, extent)]
    panels += [
        _line_panel(rows, x, colours, "cpu_cores", "CPU (cores)"),
        _line_panel(rows, x, colours, "memory_mib", "memory (MiB)"),
        _line_panel(rows, x, colours, "sent_mbit_per_s", "sent (Mbit/s)"),
        _line_panel(rows, x, colours, "received_mbit_per_s", "received (Mbit/s)"),
        _line_panel(rows, x, colours, "read_mib_per_s", "disk read (MiB/s)"),
        _line_panel(rows, x, colours, "written_mib_per_s", "disk write (MiB/s)"),
    ]
    packets = packet_rows(trial)
    if packets:
        panels.append(_packet_panel(packets, extent))
    with warnings.catch_warnings():
        # One zoom for all panels is what we want; Altair warns that it is one.
        warnings.filterwarnings("ignore", message="Automatically deduplicated selection parameter")
        chart = alt.vconcat(*panels, spacing=6).resolve_scale(color="independent").add_params(zoom)
    plan = trial.stored.record.plan
    way = f"from {plan.source} to {plan.destination}"
    counterpart = f"; counterpart of the paper's {paper_figure}" if paper_figure is not None else ""
    caption = (
        f"Trial {plan.order}, {way}: both hosts over the whole move{counterpart}. "
        "Time in seconds since the move was called; drag to pan, scroll to zoom, double-click to reset. "
        "Memory is without page cache."
    )
    return named(name, title, caption, chart)


def _extent(rows: Rows, trial: ReportedTrial) -> list[float]:
    times = [row["t_s"] for row in rows] or [0.0, trial.figures.total_s or 1.0]
    return [round(min(times), 2), round(max(times), 2)]


def _phase_panel(trial: ReportedTrial, extent: list[float]) -> Any:
    return (
        alt.Chart(inline(phase_rows(trial)))
        .mark_bar(height=10, clip=True, cornerRadius=2)
        .encode(
            x=alt.X("from_s:Q", title=None, scale=alt.Scale(domain=extent, nice=False)),
            x2="to_s:Q",
            y=alt.Y("phase:N", sort=_SHOWN_PHASES, title=None),
            color=alt.Color("phase:N", scale=alt.Scale(domain=_SHOWN_PHASES, range=_PHASE_COLOURS), legend=None),
            tooltip=["phase:N", alt.Tooltip("from_s:Q", format=".3f"), alt.Tooltip("length_s:Q", format=".4f")],
        )
        .properties(width=WIDTH, height=90)
    )


def _line_panel(rows: Rows, x: alt.X, colours: alt.Scale, column: str, title: str) -> Any:
    return (
        alt.Chart(inline([{key: row[key] for key in ("t_s", "host", column)} for row in rows]))
        .mark_line(clip=True, strokeWidth=1.5, interpolate="step-before")
        .encode(
            x=x,
            y=alt.Y(f"{column}:Q", title=title, axis=alt.Axis(tickCount=4, titleFontSize=10)),
            color=alt.Color("host:N", scale=colours, title=None),
            tooltip=["host:N", alt.Tooltip("t_s:Q", format=".2f"), alt.Tooltip(f"{column}:Q", format=".2f")],
        )
        .properties(width=WIDTH, height=74)
    )


def _packet_panel(packets: Rows, extent: list[float]) -> Any:
    viewers = len({row["viewer"] for row in packets})
    return (
        alt.Chart(inline(packets))
        .mark_tick(clip=True, thickness=1, color="#333333")
        .encode(
            x=alt.X("t_s:Q", title="seconds since the move was called", scale=alt.Scale(domain=extent, nice=False)),
            y=alt.Y("viewer:O", title="viewer"),
        )
        .properties(
            width=WIDTH,
            height=max(30, 16 * viewers),
            title=alt.TitleParams("media packets at each viewer", anchor="start", fontSize=10),
        )
    )


def load_chart(trials: Sequence[ReportedTrial]) -> NamedChart | None:
    """Migration time against viewers; None when no trial with viewers has moved."""
    rows = total_rows(list(trials))
    if not rows:
        return None
    x = alt.X("viewers:Q", title="viewers", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, nice=False, padding=20))
    colour = alt.Color("series:N", title=None)
    seconds = "total migration time (s)"
    shown = evenly(rows, MOST_DOTS)
    dots = alt.Chart(inline(shown)).encode(x=x, color=colour)
    dots = dots.mark_circle(size=60, opacity=0.75).encode(
        y=alt.Y("total_s:Q", title=seconds, scale=alt.Scale(zero=True)),
        tooltip=["series:N", "viewers:Q", "total_s:Q", "trial:Q"],
    )
    medians = total_medians(rows)
    line = alt.Chart(inline(medians)).mark_line(strokeWidth=1.5).encode(x=x, color=colour, y=alt.Y("median:Q", title=seconds))
    layers = [line, dots]
    intervals = [{key: row[key] for key in ("series", "viewers", "low", "high")} for row in medians if row["low"] is not None]
    if intervals:
        bars = alt.Chart(inline(intervals)).mark_rule(strokeWidth=6, opacity=0.35)
        layers.insert(0, bars.encode(x=x, color=colour, y="low:Q", y2="high:Q"))
    chart = alt.layer(*layers).properties(width=WIDTH - 100, height=280)
    caption = "Every trial is a dot, the line joins medians; counterpart of the paper's figure 11."
    if intervals:
        caption += " Bars are 95 % intervals of the medians."
    caption += of_all(len(shown), len(rows))
    return named("migration-time-against-viewers", "Migration time against viewers", caption, chart)


def crowd_chart(trials: Sequence[ReportedTrial]) -> NamedChart | None:
    """The source under the most viewers: CPU and network of each scenario; None without such a trial."""
    moved = [trial for trial in counting_of(trials) if trial.figures.total_s is not None and trial.stored.record.plan.viewers]
    if not moved:
        return None
    most = max(trial.stored.record.plan.viewers for trial in moved)
    firsts: dict[str, ReportedTrial] = {}
    for trial in moved:
        if trial.stored.record.plan.viewers == most:
            firsts.setdefault(trial.stored.record.plan.scenario, trial)
    rows = [
        {**row, "scenario": name}
        for name, trial in sorted(firsts.items())
        for row in host_rows(trial, (trial.stored.record.plan.source,))
    ]
    if not rows:
        return None
    panels = [
        _crowd_panel(rows, column, title)
        for column, title in (("cpu_cores", "CPU (cores)"), ("sent_mbit_per_s", "sent (Mbit/s)"))
    ]
    plural = "s" if most > 1 else ""
    caption = (
        f"The source with {most} viewer{plural}, one trial of each scenario; counterpart of the paper's figure 12 (which has 10)."
    )
    return named("source-under-load", f"The source with {most} viewer{plural}", caption, alt.vconcat(*panels, spacing=6))


def _crowd_panel(rows: Rows, column: str, title: str) -> Any:
    return (
        alt.Chart(inline([{key: row[key] for key in ("t_s", "scenario", column)} for row in rows]))
        .mark_line(strokeWidth=1.3, interpolate="step-before")
        .encode(
            x=alt.X("t_s:Q", title="seconds since the move was called"),
            y=alt.Y(f"{column}:Q", title=title),
            color=alt.Color("scenario:N", title=None),
        )
        .properties(width=WIDTH - 60, height=150)
    )


def rest_chart(trials: Sequence[ReportedTrial]) -> NamedChart | None:
    """What each form costs at rest; None when no trial looked."""
    shown = evenly(trials, MOST_DOTS // KINDS_AT_REST)
    rows = rest_rows(shown)
    if not rows:
        return None
    chart = (
        alt.Chart(inline(rows))
        .mark_circle(size=50, opacity=0.6)
        .encode(
            x=alt.X("value:Q", title=None, scale=alt.Scale(zero=True)),
            y=alt.Y("scenario:N", title=None),
            color=alt.Color("scenario:N", legend=None),
            tooltip=["scenario:N", "cost:N", "value:Q"],
        )
        .properties(width=WIDTH - 120, height=54)
        .facet(
            row=alt.Row(
                "cost:N",
                title=None,
                header=alt.Header(labelAngle=0, labelAlign="left", labelAnchor="start", labelOrient="top"),
            )
        )
        .resolve_scale(x="independent")
    )
    caption = f"Before anybody watches; a dot per trial.{of_all(len(shown), len(trials))}"
    return named("cost-at-rest", "What each form costs at rest", caption, chart)


def named(name: str, title: str, caption: str, chart: Any) -> NamedChart:
    """A chart with what all charts of a report share."""
    configured = chart.configure_view(stroke="#dddddd").configure_axis(gridColor="#eeeeee", labelFontSize=10)
    return NamedChart(name, title, caption, configured.to_dict())
