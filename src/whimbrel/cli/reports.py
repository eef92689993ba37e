"""``report``, ``show`` and ``schema``: from records to figures; need no root and no lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel

from whimbrel.analysis.kept import KeptFigures
from whimbrel.analysis.viewers import HlsFigure, PlaybackFigure
from whimbrel.analysis.vlc import VlcFigure
from whimbrel.cli.density import show_density
from whimbrel.cli.density import write_page as write_density_page
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.run import print_findings
from whimbrel.cli.terminal import reading, waiting
from whimbrel.errors import UsageError
from whimbrel.plain_text import visible
from whimbrel.records.density import holds_density, read_density
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import EndRecord, TrialRecord
from whimbrel.report.as_json import summary
from whimbrel.report.content import build_report
from whimbrel.report.load import ReportedTrial, load_trial
from whimbrel.report.quantities import spoken, written
from whimbrel.spec.curve import CurveSpec
from whimbrel.spec.load import schema_text
from whimbrel.units import format_moment

Folder = Annotated[Path, typer.Argument(help="A folder that 'whimbrel run' has written.")]
Buffers = Annotated[
    list[str] | None,
    typer.Option("--buffer", metavar="DURATION", help="Ask about this player buffer, such as '2 s'; may be given several times."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def report(
    folder: Folder,
    figures: Annotated[bool, typer.Option(help="Also write every chart as PNG and SVG.")] = True,
    buffer: Buffers = None,
    as_json: AsJson = False,
) -> None:
    """Writes the page and the figures of a campaign anew, from its records."""
    if holds_density(folder):
        page = write_density_page(folder, read_density(folder))
        print(json.dumps({"page": str(page), "figures": []}, indent=1) if as_json else page)
        return
    from whimbrel.report.layout import write_figures, write_page  # slow to import, and only this command draws

    campaign = CampaignFolder.open(folder)
    with reading(campaign) as told:
        built = build_report(campaign, _seconds(buffer), told)
    try:
        with waiting(lambda: "drawing page and charts"):
            page = write_page(campaign, built)
            files = write_figures(campaign, built) if figures else []
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", resolution="copy it to a folder of yours") from error
    if as_json:
        print(json.dumps({"page": str(page), "figures": [str(file) for file in files]}, indent=1))
        return
    print(page)
    for file in files:
        print(file)


def show(
    folder: Folder,
    trial: Annotated[int | None, typer.Argument(help="A trial's number; without one, the summary of the campaign.")] = None,
    buffer: Buffers = None,
    as_json: AsJson = False,
) -> None:
    """Shows a campaign's summary, or everything known of one trial; or how a server was filled."""
    if holds_density(folder):
        show_density(read_density(folder), as_json)
        return
    campaign = CampaignFolder.open(folder)
    if trial is not None:
        _show_trial(load_trial(campaign, trial, _seconds(buffer)), as_json)
        return
    with reading(campaign) as told:
        built = build_report(campaign, _seconds(buffer), told)
    if as_json:
        print(json.dumps(summary(built, folder), indent=1))
    else:
        print_findings(built)


def _seconds(buffers: list[str] | None) -> list[float]:
    return [duration_s("--buffer", text) for text in buffers or []]


def _show_trial(trial: ReportedTrial, as_json: bool) -> None:
    record, figures = trial.stored.record, trial.figures
    if as_json:
        print(json.dumps({"record": record.model_dump(mode="json"), "figures": figures.model_dump(mode="json")}, indent=1))
        return
    plan = record.plan
    where = f"from {plan.source} to {plan.destination}" if plan.moves else f"on {plan.source}"
    block = f"block {plan.block}" if plan.counts else "warm-up"
    print(f"trial {plan.order}: {plan.arm}, {block}, {where}, {record.provenance.saved_state}")
    print(f"result: {record.outcome.result}{': ' + record.outcome.error if record.outcome.error else ''}")
    for line in last_words(record.end) if record.end is not None else []:
        print(visible(line))
    for name, value in figures.model_dump().items():
        if not isinstance(value, (list, dict)) and "_at_least_" not in name:
            print(f"{spoken(name)}: {written(name, value, figures.at_least(name))}")
    for phase in figures.phases:
        print(f"phase {phase.name}: {written('length_s', phase.length_s)}")
    for found in figures.rounds:
        sent = written("transferred_bytes", found.transferred_bytes)
        print(f"round {found.number}: {written('length_s', found.length_s)}, {sent}")
    for viewer in figures.viewers:
        gap = written("service_gap_ms", viewer.service_gap_ms, viewer.service_gap_at_least_ms)
        print(f"viewer {viewer.viewer}: service gap {gap}, {viewer.connections_lost} connections lost")
        for played in viewer.playbacks:
            print(f"  buffer {played.buffer_s:g} s: {_played(played)}")
    for hls in figures.hls_viewers:
        print(f"HLS viewer {hls.viewer}: {hls.segments} segments, {hls.late} late, {hls.failed} failed, {hls.missing} missing")
        print(f"  {_played(hls)}")
    for vlc in figures.vlc_viewers:
        longest = written("longest_stall_s", vlc.longest_stall_s, vlc.longest_stall_at_least_s)
        print(f"VLC viewer {vlc.viewer}: {vlc.pictures_lost} pictures and {vlc.sounds_lost} buffers of sound lost")
        print(f"  {_played(vlc)}, longest {longest}, to within {written('resolution_s', vlc.resolution_s)}")
    print(f"records: {trial.stored.folder}")


def _played(figure: PlaybackFigure | HlsFigure | VlcFigure) -> str:
    """What a player showed: when it started, and how often and how long it stood still."""
    startup = "never started" if figure.startup_s is None else f"started after {written('startup_s', figure.startup_s)}"
    stalled = written("stalled_s", figure.stalled_s, figure.stalled_at_least_s)
    return f"{startup}, {figure.stalls} stalls, {stalled} in all"


def last_words(end: EndRecord) -> Iterator[str]:
    """How a guest ended by itself, and what it left."""
    yield f"end: the guest {end.guest} {end.how}, on host {end.host} at {format_moment(end.realtime_ns)}"
    yield f"end, while: {end.during}"
    yield f"end, left: {end.left}"
    for what, lines in (("console", end.console), ("QEMU's log", end.qemu_log)):
        yield from (f"{what}: {line}" for line in lines or ["nothing that can be read"])


def schema(
    which: Annotated[
        Literal["scenario", "trial", "figures", "curve"],
        typer.Argument(help="Of what: a scenario file, trial.json, derived.json or a dirty curve."),
    ] = "scenario",
) -> None:
    """Prints the JSON Schema of a file that whimbrel reads or writes."""
    models: dict[str, type[BaseModel]] = {"trial": TrialRecord, "figures": KeptFigures, "curve": CurveSpec}
    print(schema_text() if which == "scenario" else json.dumps(models[which].model_json_schema(), indent=2))
