"""``whimbrel run``: a scenario file becomes a lab, trials, records and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.api.running import Campaigning, held_back, make_campaign, usual_folder, write_report
from whimbrel.campaign import estimate_campaign_s, estimate_profiles_s, estimate_states_s, plan_trials
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.live import Live, Metrics, MetricsFile, SpansTo, beside, observed, wanted
from whimbrel.cli.run_watched import run_watched
from whimbrel.cli.showing import show_campaign
from whimbrel.cli.terminal import Steps, complain, print_table
from whimbrel.cli.typed import as_typed, called
from whimbrel.errors import UsageError, interrupted
from whimbrel.live.beside import Beside
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.report.as_json import summary
from whimbrel.report.content import PAGE, Report
from whimbrel.report.junit import write_junit
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.root import need_root
from whimbrel.units import format_duration

TAKE_OVER = "Take hosts by URI from an owner that has crashed: its claim goes, its files and guests are not touched."
# What k6 ends with when a threshold is crossed.
CROSSED = 99


def run(
    file: Annotated[Path | None, typer.Argument(help="The scenario file, such as scenarios/paper.yaml.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this scenario; may be given several times.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, max=1000, help="Trials of each arm, whatever the file says.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as guest.memory='2 GiB'.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: results/NAME-TIME.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the campaign that was interrupted, whose results lie here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and the estimated time; do nothing.")] = False,
    keep_on_failure: Annotated[
        bool,
        typer.Option("--keep-on-failure", help="Stop at the first failure and leave lab and guest as they are."),
    ] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help=TAKE_OVER)] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show how each move goes, beneath the bar on a terminal, as lines elsewhere.")
    ] = False,
    live: Live = None,
    metrics: Metrics = None,
    metrics_file: MetricsFile = None,
    spans: SpansTo = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write trials and limits as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary (or the plan) as JSON.")] = False,
) -> int:
    """Makes the trials of a scenario file, measures them, and writes a report.

    Ends with 1 when a trial failed, and with 99 when none did but a limit of the file ('thresholds') was crossed.
    """
    if resume is not None:
        changed = {"--only": only, "--repeat": repeat, "--set": set_, "--out": out}
        spec, plans, folder = _interrupted(resume, file, [name for name, value in changed.items() if value])
    elif file is not None:
        spec = load_campaign(file, set_ or [])
        plans = plan_trials(spec, frozenset(only or []), repeat)
        folder = out or usual_folder(spec)
    else:
        raise UsageError("no scenario file is named", resolution="'whimbrel run scenarios/paper.yaml', or '--resume FOLDER'")
    if dry_run:
        _print_plan(spec, plans, as_json)
        return 0
    if not spec.runs_already:
        need_root("a trial")
    if junit is not None and not junit.absolute().parent.is_dir():
        raise UsageError(f"--junit {junit}: there is no folder {junit.absolute().parent}")
    campaigning = Campaigning(spec, plans, folder.absolute(), as_typed(), resume is not None, keep_on_failure, take_over)
    with beside(wanted(live, metrics, metrics_file, spans), spec.name) as seen:
        if spec.watched:
            with _saying_how_to_go_on(campaigning.folder):
                made = run_watched(campaigning, seen, watch)
            report = write_report(made, figures=True)
        else:
            report = _made(campaigning, seen, watch)
        if seen is not None:
            seen.report = campaigning.folder / PAGE
    return _tell(report, folder.absolute(), junit, as_json)


def _made(wanted: Campaigning, seen: Beside | None, watch: bool) -> Report:
    """Makes the campaign, with a bar."""
    steps = Steps(len(wanted.plans), estimate_campaign_s(wanted.spec, wanted.plans) / len(wanted.plans))
    with _saying_how_to_go_on(wanted.folder), steps, observed(seen) as bus:
        show_campaign(bus, steps, len(wanted.plans), watch)
        return make_campaign(wanted, bus, Interrupts)


@contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """After Ctrl-C, where a trial has been made."""
    try:
        yield
    except BaseException as error:
        if (isinstance(error, KeyboardInterrupt) or interrupted(error)) and (folder / "campaign.json").exists():
            complain(f"to go on: {called('run', '--resume', str(folder))}")
        raise


def _tell(report: Report, folder: Path, junit: Path | None, as_json: bool) -> int:
    """Says how the campaign went, and with which code that ends."""
    if junit is not None:
        write_junit(report, junit)
    if as_json:
        print(json.dumps(summary(report, folder), indent=1))
    else:
        print_findings(report)
        print(f"\nreport: {folder / PAGE}")
    if not all(trial.stored.record.outcome.succeeded for trial in report.trials):
        return 1
    return 0 if all(tick.kept for tick in report.ticks) else CROSSED


def _interrupted(folder: Path, file: Path | None, changed: list[str]) -> tuple[CampaignSpec, list[Plan], Path]:
    """A campaign as it was begun; UsageError when it is to go on as another one."""
    if changed:
        raise UsageError(f"{changed[0]} cannot be given with --resume: a campaign goes on as it was begun")
    campaign = CampaignFolder.open(folder)
    if file is not None and load_campaign(file) != campaign.spec:
        raise UsageError(
            f"{file} is not what the campaign in {folder} was begun with",
            resolution="leave the file out to go on as it was begun, or begin anew without --resume",
        )
    return campaign.spec, campaign.plans, folder


def _print_plan(spec: CampaignSpec, plans: list[Plan], as_json: bool) -> None:
    total_s = estimate_campaign_s(spec, plans)
    states_s = estimate_states_s(plans) + estimate_profiles_s(spec, plans)
    if as_json:
        content = {
            "trials": [plan.model_dump() for plan in plans],
            "estimated_s": total_s,
            "states_and_profiles_at_most_s": states_s,
        }
        print(json.dumps(content, indent=1))
        return
    for plan in plans:
        way = f"{plan.source} to {plan.destination}" if plan.moves else f"stays on {plan.source}"
        block = f"block {plan.block:3d}" if plan.counts else "warm-up  "
        start = "" if spec.watched else f" {way:10s}" if spec.own else f" {way:10s}  saved state {plan.state_boot}"
        print(f"{plan.order:4d}  {block}  {plan.arm:30s}{start}".rstrip())
    for line in held_back(spec, plans):
        print(line)
    more = f"; missing saved states and profiles: up to {format_duration(states_s)} more" if not spec.runs_already else ""
    print(f"{len(plans)} trials, about {format_duration(total_s)}{more}")


def print_findings(report: Report) -> None:
    """Limits first, then verdicts, then the figures of every arm."""
    for tick in report.ticks:
        print(tick.words)
    for line in report.evidence.words if report.evidence else []:
        print(line)
    print_table(report.table)
    for line in report.predictor.words if report.predictor else []:
        print(line)
    for line in report.problems:
        print(line)
