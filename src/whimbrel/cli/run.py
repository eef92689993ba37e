"""``whimbrel run``: a scenario file becomes a lab, trials, records and a report."""

from __future__ import annotations

import datetime
import json
import logging
import os
import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.analysis.kept import kept_figures
from whimbrel.campaign import (
    Campaign,
    estimate_campaign_s,
    estimate_profiles_s,
    estimate_states_s,
    need_possible,
    plan_trials,
)
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.live import Live, Metrics, MetricsFile, SpansTo, beside, observed, tell_figures, wanted
from whimbrel.cli.run_watched import run_watched
from whimbrel.cli.showing import CampaignBar
from whimbrel.cli.terminal import Steps, complain, print_table
from whimbrel.deployment.deployed import others_beside
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.events import Bus
from whimbrel.guests.guest import what_is_left
from whimbrel.hosts.remote import RemoteSite
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab
from whimbrel.live.beside import Beside
from whimbrel.moves.making import make_images
from whimbrel.moves.needs import need_clients, wanted_of
from whimbrel.moves.notes import Origin
from whimbrel.moves.place import is_up, ledger_for, site_for
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.report.as_json import summary
from whimbrel.report.content import PAGE, Report, build_report
from whimbrel.report.junit import write_junit
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.capabilities import need_capabilities
from whimbrel.system.ledger import Ledger
from whimbrel.system.provenance import commit
from whimbrel.system.root import need_root
from whimbrel.units import format_duration

log = logging.getLogger(__name__)

TAKE_OVER = "Take hosts by URI from an owner that has crashed: its claim goes, its files and guests are not touched."
# What k6 ends with when a threshold is crossed.
CROSSED = 99
# As a reader of the README calls it, so that the report's command can be pasted.
HOW_TO_CALL = ("sudo", "./whimbrel") if "WHIMBREL_COMMAND" in os.environ else ("sudo", "whimbrel")


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
        folder = out or Path("results") / f"{spec.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    else:
        raise UsageError("no scenario file is named", resolution="'whimbrel run scenarios/paper.yaml', or '--resume FOLDER'")
    if dry_run:
        _print_plan(spec, plans, as_json)
        return 0
    if not spec.watched:
        need_root("a trial")
        need_clients(spec)
    if junit is not None and not junit.absolute().parent.is_dir():
        raise UsageError(f"--junit {junit}: there is no folder {junit.absolute().parent}")
    asked = wanted(live, metrics, metrics_file, spans)
    if spec.watched:
        with beside(asked, spec.name) as seen:
            made = run_watched(spec, plans, folder.absolute(), resume is not None, _command(), seen)
            report = write_report(made, figures=True)
            if seen is not None:
                seen.report = folder.absolute() / PAGE
        return _tell(report, folder, junit, as_json)
    folder = folder.absolute()
    with ledger_for(spec) as ledger, Interrupts(ledger):
        if spec.hosts is None:
            need_capabilities()
            need_possible(spec, plans, ImageStore(complain))
        for line in _held_back(spec, plans):
            complain(line)
        if resume is not None and ledger.entries and not ledger.kept:
            complain("removing what the interrupted run left on this machine")
            ledger.undo_all()
        campaign = _Run(spec, plans, ledger, folder, keep_on_failure, resumed=resume is not None, take_over=take_over)
        with beside(asked, spec.name) as seen:
            report = campaign.go(seen)
    return _tell(report, folder, junit, as_json)


def _command() -> str:
    return shlex.join([*HOW_TO_CALL, *sys.argv[1:]])


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
        start = "" if spec.watched else f" {way:10s}  saved state {plan.state_boot}"
        print(f"{plan.order:4d}  {block}  {plan.arm:30s}{start}".rstrip())
    for line in _held_back(spec, plans):
        print(line)
    more = f"; missing saved states and profiles: up to {format_duration(states_s)} more" if not spec.watched else ""
    print(f"{len(plans)} trials, about {format_duration(total_s)}{more}")


def _held_back(spec: CampaignSpec, plans: list[Plan]) -> list[str]:
    """A line for each arm whose moves get less bandwidth than was asked for."""
    arms = dict.fromkeys(plan.arm for plan in plans if plan.moves)
    notes = {name: spec.in_arm(spec.find_arm(name)[1]).migration.bandwidth_note for name in arms}
    return [f"bandwidth of arm {name}: {note}" for name, note in notes.items() if note]


class _Run:
    """A campaign from lab to page."""

    def __init__(
        self,
        spec: CampaignSpec,
        plans: list[Plan],
        ledger: Ledger,
        folder: Path,
        keep_on_failure: bool,
        resumed: bool,
        take_over: bool,
    ) -> None:
        self._spec = spec
        self._plans = plans
        self._ledger = ledger
        self._keep_on_failure = keep_on_failure
        self._path = folder
        self._resumed = resumed
        self._take_over = take_over
        self._steps = Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans))
        self._page_due_s = 0.0
        # The campaign, while its page lacks its last trials.
        self._behind: CampaignFolder | None = None
        # The trial that was made last.
        self._last: StoredTrial | None = None

    def _refuse_what_is_deployed(self) -> None:
        """Other guests on the hosts would change what is measured."""
        beside = [each.name for each in others_beside(self._spec, "")]
        if beside:
            raise UsageError(
                f"in the lab {self._spec.lab.name!r} something is deployed: {', '.join(beside)}",
                resolution=f"'whimbrel undeploy {beside[0]}', or give this campaign a lab of its own ('--set lab.name=other')",
            )

    def go(self, seen: Beside | None) -> Report:
        """Makes the trials; returns what the report says. ``seen`` is shown how it goes, and the report when that is written."""
        left_up = is_up(self._spec, self._ledger)
        if left_up:
            self._refuse_what_is_deployed()
        command = _command()
        with self._steps as steps:
            store = ImageStore(steps.note)
            make_images(wanted_of(self._spec, self._plans), store, self._ledger, steps.note)
            site = site_for(self._spec, store, self._ledger, self._take_over)
            succeeded = False
            # A site that cannot be had removes what it made itself, and nothing that was there before.
            if not left_up:
                site.up()
            try:
                folder = self._folder(command)
                origin = Origin(command=command, commit=commit(), registration=folder.registration)
                with observed(seen) as bus:
                    bus.subscribe("terminal", CampaignBar(steps, len(self._plans)).observe, samples=False)
                    between = partial(self._kept, folder, bus)
                    campaign = Campaign(self._spec, self._plans, site, folder, origin, bus, between, self._keep_on_failure)
                    succeeded = all(stored.record.outcome.succeeded for stored in campaign.run())
            finally:
                self._leave(site, left_up, succeeded)
            steps.step("writing the report")
            report = write_report(folder, figures=True)
            if seen is not None:
                seen.report = self._path / PAGE
            return report

    def _leave(self, site: Lab | RemoteSite, left_up: bool, succeeded: bool) -> None:
        """Takes the lab down, or clears the hosts, unless it was up before us, or a failure is to be looked at."""
        interrupted = isinstance(sys.exception(), KeyboardInterrupt)
        if self._keep_on_failure and not succeeded and not interrupted and self._ledger.entries and self._spec.hosts is None:
            name = self._spec.lab.name
            self._ledger.keep(self._spec.lab.model_dump_json())
            complain(f"the lab is left up: {left_of(self._last, site)}")
            complain(f"look with 'whimbrel lab exec {name} a -- virsh list --all'")
            complain(f"remove it with 'whimbrel lab down {name}'")
        elif not left_up:
            site.down()
        if self._behind is not None and sys.exception() is not None:
            self._write_page(self._behind)
        if interrupted and (self._path / "campaign.json").exists():
            complain(f"to go on: {shlex.join([*HOW_TO_CALL, 'run', '--resume', str(self._path)])}")

    def _folder(self, command: str) -> CampaignFolder:
        if not self._resumed:
            return CampaignFolder.create(self._path, self._spec, command, self._plans)
        folder = CampaignFolder.open(self._path)
        made = folder.made
        self._steps.note(f"{made} of {len(self._plans)} trials were made before")
        for _ in range(made):
            self._steps.skip()
        return folder

    def _kept(self, folder: CampaignFolder, bus: Bus, stored: StoredTrial) -> None:
        """Between two trials nothing is measured: the page may be written."""
        self._last = stored
        self._behind = folder
        if bus.wants_samples:
            tell_figures(bus, kept_figures(stored))
        if time.monotonic() >= self._page_due_s:
            self._write_page(folder)

    def _write_page(self, folder: CampaignFolder) -> None:
        """The page as of now. It takes longer with every trial, so the next is due when this one is a thirtieth of the time."""
        self._steps.step("writing the page")
        began_s = time.monotonic()
        try:
            write_report(folder, figures=False)
            self._behind = None
        except Exception as error:
            # A page can be written again; the trials that are still to come cannot be made at another time.
            log.debug("no page", exc_info=True)
            self._steps.note(f"the page could not be written; 'whimbrel report {self._path}' writes it later: {error}")
        ended_s = time.monotonic()
        self._page_due_s = ended_s + 29 * (ended_s - began_s)


def left_of(last: StoredTrial | None, site: Lab | RemoteSite) -> str:
    """What of the last trial's guest is on the hosts now, not what we last knew."""
    if last is not None and last.record.plan.form == "container":
        return "the container was left as it was, in the cells of its servers"
    try:
        left = what_is_left(site)
    except WhimbrelError as error:
        return f"what is on it is unknown ({error.brief})"
    end = last.record.end if last is not None else None
    if last is None or end is None:
        return left
    return f"{left}; it {end.how}, on host {end.host}: {end.left}. Its console and logs lie in {last.folder / 'logs'}"


def write_report(folder: CampaignFolder, figures: bool) -> Report:
    """Writes the page and, if asked for, the figures."""
    # Charts take a third of a second to import, which only commands that draw should pay.
    from whimbrel.report.layout import write_figures, write_page

    report = build_report(folder)
    write_page(folder, report)
    if figures:
        write_figures(folder, report)
    return report


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
