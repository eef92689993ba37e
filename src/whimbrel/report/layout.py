"""The report laid out: one page that works offline, and its charts as PNG and SVG."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup, escape

from whimbrel.analysis.resampling import Resampled
from whimbrel.records.caller import make_folder, write_file
from whimbrel.records.store import CampaignFolder
from whimbrel.report.charts import NamedChart, crowd_chart, load_chart, rest_chart, timeline_chart
from whimbrel.report.content import PAGE, Report
from whimbrel.report.evidence_charts import evidence_charts
from whimbrel.report.load import ReportedTrial, counting_of
from whimbrel.report.picture import MOST_LINES, as_png
from whimbrel.report.prediction_chart import prediction_chart
from whimbrel.report.sampling import sampled
from whimbrel.report.share import as_latex, as_markdown
from whimbrel.report.table import UNKNOWN, Table, parts_of, predictor_table
from whimbrel.units import format_moment

_FIGURES = "figures"
# What a page of 1,300 pixels shows without scrolling.
_MOST_COLUMNS = 13
# More rows than these make a page slow to open; 'whimbrel export' has all.
_MOST_TRIALS = 300

# The menu's button is a picture, which says nothing to whoever hears the page.
_DRAW = """
window.draw = (place, spec) => vegaEmbed(
  place, spec, {actions: {export: true, source: false, compiled: false, editor: false}, renderer: "svg"}
).then(() => document.querySelector(`${place} summary`).setAttribute("aria-label", "save this chart"));
"""


def charts_of(report: Report) -> list[NamedChart]:
    """Every chart of the report, in the order of the page: what it shows, then what happened."""
    trials = report.trials
    charts = evidence_charts(report.evidence, trials) if report.evidence is not None else []
    figures = {"none": "figure 8", "vm": "figure 9", "nested": "figure 10"}
    for arm_trials in _by_scenario(counting_of(trials)):
        shown = _typical(arm_trials)
        if shown is not None:
            record = shown.stored.record
            scenario = next(scenario for scenario in record.spec.scenarios if scenario.name == record.plan.scenario)
            figure = figures.get("none" if scenario.service == "none" else scenario.form)
            charts.append(timeline_chart(shown, f"timeline-{scenario.name}", scenario.title, figure))
    found = (prediction_chart(trials), load_chart(trials), crowd_chart(trials), rest_chart(trials))
    charts += [chart for chart in found if chart is not None]
    return charts


def _by_scenario(trials: list[ReportedTrial]) -> list[list[ReportedTrial]]:
    groups: dict[str, list[ReportedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.stored.record.plan.scenario, []).append(trial)
    order = [scenario.name for scenario in trials[0].stored.record.spec.scenarios] if trials else []
    return [groups[name] for name in order if name in groups]


def _typical(trials: list[ReportedTrial]) -> ReportedTrial | None:
    """Of the trials with the fewest viewers that moved, the one whose total time is the (lower) median."""
    moved = [trial for trial in trials if trial.figures.total_s is not None]
    if not moved:
        return None
    fewest = min(trial.stored.record.plan.viewers for trial in moved)
    alike = sorted(
        (trial for trial in moved if trial.stored.record.plan.viewers == fewest),
        key=lambda trial: trial.figures.total_s or 0.0,
    )
    return alike[(len(alike) - 1) // 2]


def write_page(folder: CampaignFolder, report: Report) -> Path:
    """Writes the page in one step; a browser that has the old one open keeps it until it reloads."""
    environment = templates("whimbrel.report")
    environment.filters |= {"spread": _spread, "p": _p_value, "resampled": _resampled, "gap": _gap, "moment": format_moment}
    charts = charts_of(report)
    main_parts = parts_of(report.table, keys=2, most=_MOST_COLUMNS)
    text = environment.get_template("page.html.j2").render(
        main_parts=main_parts,
        picture=_picture(main_parts[0]) if main_parts and main_parts[0].lines else None,
        shown=sampled(report.trials, _MOST_TRIALS),
        most=_MOST_TRIALS,
        shared=_shared(report),
        report=report,
        charts=charts,
        predictor=predictor_table(report.predictor) if report.predictor else None,
        bundle=bundle() if charts else "",
        specs=[inlined(chart) for chart in charts],
    )
    target = folder.folder / PAGE
    write_file(target, text.encode(), lasting=False)
    return target


def _picture(table: Table) -> str | None:
    """A table as PNG in an address of its own; None of one that is too long for a picture."""
    return base64.b64encode(as_png(table)).decode() if len(table.lines) <= MOST_LINES else None


def _shared(report: Report) -> list[tuple[str, str, str]]:
    """Each table by its name, as Markdown and as LaTeX."""
    tables = {"what the moves cost": report.table, "at rest": report.rest, "instruments": report.instruments}
    if report.predictor:
        tables["predictions"] = predictor_table(report.predictor)
    return [(name, as_markdown(table), as_latex(table)) for name, table in tables.items() if table.lines]


def templates(package: str) -> jinja2.Environment:
    """The templates of a room; what is put into them is escaped, and nothing may be missing."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip


def _spread(cell: str) -> str:
    """A cell's ``median [least to greatest]``, the second part on a line of its own."""
    median, bracket, rest = cell.partition(" [")
    return Markup('{}<span class="spread">[{}</span>').format(median, rest) if bracket else escape(median)


def _gap(gap_ms: float | None, at_least_ms: float | None) -> str:
    if gap_ms is not None:
        return f"{gap_ms:.0f}"
    return UNKNOWN if at_least_ms is None else f"at least {at_least_ms:.0f}"


def _p_value(p: float | None) -> str:
    if p is None:
        return UNKNOWN
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _resampled(found: Resampled | None) -> str:
    if found is None:
        return UNKNOWN
    interval = f" [{found.interval.low:.3f} to {found.interval.high:.3f}]" if found.interval else ""
    return f"{found.estimate:.3f}{interval}"


def inlined(chart: NamedChart) -> str:
    """JSON that is safe inside a script element."""
    return json.dumps(chart.spec).replace("</", "<\\/")


@cache
def style() -> str:
    """What the pages of reports and of watches look like: on screens of any width, by day and by night, and on paper."""
    return (Path(__file__).parent / "templates" / "style.html.j2").read_text()


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, so that the page needs no network.

    ``window.draw(place, spec)`` draws a chart.
    """
    return str(vl_convert.javascript_bundle(_DRAW)).replace("</script", "<\\/script")


def write_figures(folder: CampaignFolder, report: Report) -> list[Path]:
    """Writes every chart as PNG and SVG; returns the files."""
    target = folder.folder / _FIGURES
    make_folder(target)
    files = []
    for chart in charts_of(report):
        svg, png = target / f"{chart.name}.svg", target / f"{chart.name}.png"
        write_file(svg, chart.svg.encode())
        write_file(png, chart.png)
        files += [svg, png]
    return files
