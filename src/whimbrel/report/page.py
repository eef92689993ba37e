"""The report: one page that works offline, and its charts as PNG and SVG."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import altair as alt
import jinja2
import vl_convert
from markupsafe import Markup, escape

from whimbrel.analysis.summary import ArmSummary, summarise
from whimbrel.records.store import CampaignFolder
from whimbrel.report.charts import NamedChart, crowd_chart, load_chart, rest_chart, timeline_chart
from whimbrel.report.load import ReportedTrial, load_trials
from whimbrel.report.table import Table, main_table, rest_table
from whimbrel.units import format_bytes, format_duration, format_rate

PAGE = "report.html"
_FIGURES = "figures"
_PNG_SCALE = 2
# Above these a machine was busy with something else, and the trial is marked.
CROWDED_VCPU_WAIT_SHARE = 0.15
CROWDED_LATENESS_MS = 100.0


@dataclass(frozen=True)
class Report:
    """What a report says, before it is laid out."""

    title: str
    reference: str
    emulated: bool
    planned: int
    trials: list[ReportedTrial]
    arms: list[ArmSummary]
    table: Table
    rest: Table
    charts: list[NamedChart]
    command: str
    environment: list[tuple[str, str]]

    @property
    def problems(self) -> list[str]:
        """Trials that failed or that a crowded machine may have distorted, one line each."""
        lines = []
        for trial in self.trials:
            plan, outcome = trial.stored.record.plan, trial.stored.record.outcome
            who = f"Trial {plan.order} ({plan.scenario}, {plan.viewers} viewers)"
            if outcome.result != "moved":
                lines.append(f"{who} {outcome.result}: {shorten(outcome.error)}")
            lines += [f"{who}: {reason}" for reason in crowded(trial)]
        return lines


def shorten(error: str | None) -> str:
    """What failed and, of the evidence, the last line: with most programs that is the one that says why."""
    lines = (error or "no reason known").splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} ({lines[-1].strip()})"


def crowded(trial: ReportedTrial) -> list[str]:
    """Why a trial's figures may be distorted by the machine it ran on."""
    machine = trial.figures.machine
    reasons = []
    wait = machine.vcpu_wait_share_during
    if wait is not None and wait > CROWDED_VCPU_WAIT_SHARE:
        reasons.append(f"crowded machine: the guest's processors waited for a CPU {wait:.0%} of the time during the move")
    late = machine.sampler_lateness_p99_ms
    if late is not None and late > CROWDED_LATENESS_MS:
        reasons.append(f"crowded machine: samples came up to {late:.0f} ms late")
    return reasons


def build_report(folder: CampaignFolder) -> Report:
    """Reads a campaign and derives everything its report says."""
    spec = folder.spec
    header = folder.header
    trials = load_trials(folder)
    arms = summarise([trial.trialled for trial in trials])
    return Report(
        title=spec.title or spec.name,
        reference=spec.reference,
        emulated=any(trial.stored.record.provenance.accelerator == "tcg" for trial in trials),
        planned=int(header["planned"]),
        trials=trials,
        arms=arms,
        table=main_table(arms),
        rest=rest_table([trial.trialled for trial in trials]),
        charts=_charts(trials),
        command=str(header["command"]),
        environment=_environment(trials),
    )


def _charts(trials: list[ReportedTrial]) -> list[NamedChart]:
    charts: list[NamedChart] = []
    figures = {"none": "figure 8", "vm": "figure 9", "nested": "figure 10"}
    for arm_trials in _by_scenario(trials):
        shown = _typical(arm_trials)
        if shown is not None:
            record = shown.stored.record
            scenario = next(scenario for scenario in record.spec.scenarios if scenario.name == record.plan.scenario)
            figure = figures["none" if scenario.service == "none" else scenario.form]
            charts.append(timeline_chart(shown, f"timeline-{scenario.name}", scenario.title, figure))
    charts += [chart for chart in (load_chart(trials), crowd_chart(trials), rest_chart(trials)) if chart is not None]
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


def _environment(trials: list[ReportedTrial]) -> list[tuple[str, str]]:
    if not trials:
        return []
    record = trials[-1].stored.record
    where, spec = record.provenance, record.spec
    accelerator = "KVM" if where.accelerator == "kvm" else "none: guests are emulated (TCG)"
    return [
        ("machine", f"{where.machine_cpu}, {where.machine_cpus} CPUs, {format_bytes(where.machine_memory_bytes)} of memory"),
        ("kernel", where.machine_kernel),
        ("accelerator", accelerator),
        ("CPU placement", "; ".join(f"{who}: {', '.join(map(str, cpus))}" for who, cpus in where.cpu_placement.items())),
        ("links", f"{format_rate(spec.lab.link_rate_bytes_per_s)} each way"),
        ("guest", f"{format_bytes(spec.guest.memory_bytes)}, {spec.guest.vcpus} vCPU, "
         f"{format_bytes(spec.guest.disk_bytes)} of disk"),
        ("stream", f"{format_rate(spec.stream.bitrate_bytes_per_s)}, read-ahead {format_duration(spec.stream.read_ahead_s)}"),
        ("move", f"{spec.migration.technique}, at most {format_duration(spec.migration.max_downtime_s)} of downtime planned, "
                 f"{spec.migration.max_rounds} rounds, {format_duration(spec.migration.timeout_s)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(_versions(trials).items()))),
        ("whimbrel", f"{where.whimbrel}, commit {where.commit or 'unknown'}"),
        ("seed", str(spec.seed)),
    ]  # fmt: skip


def _versions(trials: list[ReportedTrial]) -> dict[str, str]:
    found: dict[str, str] = {}
    for trial in trials:
        found |= {name: version for name, version in trial.stored.record.provenance.versions.items() if version}
    return found


def write_page(folder: CampaignFolder, report: Report) -> Path:
    """Writes the page in one step; a browser that has the old one open keeps it until it reloads."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("whimbrel.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["spread"] = _spread
    text = environment.get_template("page.html.j2").render(
        report=report, bundle=_bundle() if report.charts else "", specs=[_inline(chart) for chart in report.charts]
    )
    target = folder.folder / PAGE
    fresh = target.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(target)
    return target


def _spread(cell: str) -> str:
    """A cell's ``median [least to greatest]``, the second part on a line of its own."""
    median, bracket, rest = cell.partition(" [")
    return Markup('{}<span class="spread">[{}</span>').format(median, rest) if bracket else escape(median)


def _inline(chart: NamedChart) -> str:
    """JSON that is safe inside a script element."""
    return json.dumps(chart.spec).replace("</", "<\\/")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, so that the page needs no network."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def write_figures(folder: CampaignFolder, report: Report) -> list[Path]:
    """Writes every chart as PNG and SVG; returns the files."""
    target = folder.folder / _FIGURES
    target.mkdir(exist_ok=True)
    version = ".".join(re.findall(r"\d+", alt.SCHEMA_VERSION)[:2])
    files = []
    for chart in report.charts:
        svg, png = target / f"{chart.name}.svg", target / f"{chart.name}.png"
        svg.write_text(vl_convert.vegalite_to_svg(chart.spec, vl_version=version))
        png.write_bytes(vl_convert.vegalite_to_png(chart.spec, vl_version=version, scale=_PNG_SCALE))
        files += [svg, png]
    return files
