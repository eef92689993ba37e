"""A campaign from its lab to its page."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from whimbrel.analysis.figures import TrialFigures
from whimbrel.analysis.kept import kept_figures
from whimbrel.api.holding import Guard, unguarded
from whimbrel.api.results import Results
from whimbrel.api.scenario import nobody, scenario_of
from whimbrel.campaign import Campaign, need_possible, plan_trials
from whimbrel.deployment.deployed import others_beside
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.events import FIGURES, NOTE, STEP, TOLD, Bus, Published, Told
from whimbrel.guests.guest import what_is_left
from whimbrel.hosts.site import Site
from whimbrel.images.store import ImageStore
from whimbrel.moves.making import make_images
from whimbrel.moves.needs import need_checks, need_clients, wanted_of
from whimbrel.moves.notes import Invocation
from whimbrel.moves.site import is_up, ledger_for, site_for
from whimbrel.own.campaign import OwnCampaign, as_found
from whimbrel.records.store import CampaignFolder, StoredTrial, forget_unmade
from whimbrel.records.trial import Event, Plan
from whimbrel.report.content import Report, build_report
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.capabilities import need_capabilities
from whimbrel.system.ledger import Ledger
from whimbrel.system.provenance import commit
from whimbrel.system.root import need_root
from whimbrel.watch.campaign import checks_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Campaigning:
    """What is to be made, and where its results go; ``command`` is how it was asked for, and goes into the records.

    With ``resumed`` the folder holds the trials that were made before.
    """

    spec: CampaignSpec
    plans: list[Plan]
    folder: Path
    command: str
    resumed: bool = False
    keep_on_failure: bool = False
    take_over: bool = False


def tell_figures(bus: Bus, figures: TrialFigures) -> None:
    """Publishes what a move took."""
    bus.tell(FIGURES, **figures.model_dump(include=TOLD))


@contextmanager
def telling(told: Told) -> Iterator[Bus]:
    """A bus of whose steps and notes a caller hears, in words."""

    def hear(news: Sequence[Published]) -> None:
        for each in news:
            if isinstance(each, Event) and each.name in (STEP, NOTE):
                told(each.data["text"])

    with Bus() as bus:
        bus.subscribe("caller", hear, samples=False)
        yield bus


def run(
    scenario: CampaignSpec | Path | str,
    *,
    only: Collection[str] = (),
    repeat: int | None = None,
    out: Path | str | None = None,
    keep_on_failure: bool = False,
    told: Told = nobody,
) -> Results:
    """Makes the trials of a scenario, measures them, and writes records and page into ``out`` (default: ``results/NAME-TIME``).

    ``only`` keeps the scenarios of these names, ``repeat`` sets the number of trials of each arm; ``told`` hears of each step.
    A trial that fails is in the results; what stops the campaign is raised.
    """
    spec = scenario_of(scenario)
    _refuse_watched(spec)
    plans = plan_trials(spec, frozenset(only), repeat)
    folder = Path(out) if out is not None else usual_folder(spec)
    wanted = Campaigning(spec, plans, folder.absolute(), f"whimbrel.run({spec.name!r})", keep_on_failure=keep_on_failure)
    with telling(told) as bus:
        make_campaign(wanted, bus)
    return Results(CampaignFolder.open(folder))


def resume(folder: Path | str, *, told: Told = nobody) -> Results:
    """Goes on with a campaign that was interrupted, whose results lie in ``folder``."""
    begun = CampaignFolder.open(Path(folder))
    _refuse_watched(begun.spec)
    wanted = Campaigning(begun.spec, begun.plans, begun.folder.absolute(), f"whimbrel.resume({str(folder)!r})", resumed=True)
    with telling(told) as bus:
        make_campaign(wanted, bus)
    return Results(CampaignFolder.open(begun.folder))


def _refuse_watched(spec: CampaignSpec) -> None:
    """UsageError for a service that is only watched: its movers are commands, whose output is for a terminal."""
    if spec.watched:
        raise UsageError(f"{spec.name} watches moves by other commands", resolution="'whimbrel run FILE' makes its trials")


def usual_folder(spec: CampaignSpec) -> Path:
    """The folder into which results go when nobody names one."""
    return Path("results") / f"{spec.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def make_campaign(wanted: Campaigning, bus: Bus, guard: Guard = unguarded) -> Report:
    """Makes the trials; what the report says. The lab is taken down at the end, unless it was up before.

    Of a guest of the user's own nothing is brought up, and it takes no root.
    """
    if wanted.spec.own:
        return _make_own(wanted, bus, guard)
    need_root("a trial")
    need_checks(wanted.spec)
    need_clients(wanted.spec)
    with ledger_for(wanted.spec) as ledger, guard(ledger):
        if wanted.spec.hosts is None:
            need_capabilities()
            need_possible(wanted.spec, wanted.plans, ImageStore(bus.note))
        for line in held_back(wanted.spec, wanted.plans):
            bus.note(line)
        if wanted.resumed and ledger.entries and not ledger.kept:
            bus.note("removing what the interrupted run left on this machine")
            ledger.undo_all()
        return _Run(wanted, ledger, bus).go()


def _make_own(wanted: Campaigning, bus: Bus, guard: Guard) -> Report:
    """UsageError when it runs on none of the hosts, or for a check that says what cannot be."""
    for plan in wanted.plans:
        checks_of(wanted.spec.in_arm(wanted.spec.find_arm(plan.arm)[1]))
    if wanted.resumed:
        folder = CampaignFolder.open(wanted.folder)
    else:
        folder = CampaignFolder.create(wanted.folder, as_found(wanted.spec), wanted.command, wanted.plans)
    for line in held_back(wanted.spec, wanted.plans):
        bus.note(line)
    invocation = Invocation(command=wanted.command, commit=commit(), registration=folder.registration)
    try:
        with guard(None):
            OwnCampaign(folder, invocation, bus, wanted.keep_on_failure, wanted.take_over).run()
    except BaseException:
        if not folder.made:
            forget_unmade(wanted.folder)
        raise
    return write_report(folder, figures=True)


def held_back(spec: CampaignSpec, plans: list[Plan]) -> list[str]:
    """A line for each arm whose moves get less bandwidth than was asked for."""
    arms = dict.fromkeys(plan.arm for plan in plans if plan.moves)
    notes = {name: spec.in_arm(spec.find_arm(name)[1]).migration.bandwidth_note for name in arms}
    return [f"bandwidth of arm {name}: {note}" for name, note in notes.items() if note]


class _Run:
    """One campaign at a site that is held."""

    def __init__(self, wanted: Campaigning, ledger: Ledger, bus: Bus) -> None:
        self._wanted = wanted
        self._spec = wanted.spec
        self._ledger = ledger
        self._bus = bus
        self._page_due_s = 0.0
        # The campaign, while its page lacks its last trials.
        self._behind: CampaignFolder | None = None
        # The trial that was made last.
        self._last: StoredTrial | None = None

    def go(self) -> Report:
        """Makes the trials; returns what the report says."""
        wanted, bus = self._wanted, self._bus
        left_up = is_up(self._spec, self._ledger)
        if left_up:
            _refuse_what_is_deployed(self._spec)
        store = ImageStore(bus.note)
        make_images(wanted_of(self._spec, wanted.plans), store, self._ledger, bus.note)
        site = site_for(self._spec, store, self._ledger, wanted.take_over)
        succeeded = False
        # A site that cannot be had removes what it made itself, and nothing that was there before.
        if not left_up:
            site.up()
        try:
            folder = self._folder()
            invocation = Invocation(command=wanted.command, commit=commit(), registration=folder.registration)
            between = partial(self._kept, folder)
            campaign = Campaign(self._spec, wanted.plans, site, folder, invocation, bus, between, wanted.keep_on_failure)
            succeeded = all(stored.record.outcome.succeeded for stored in campaign.run())
        finally:
            self._leave(site, left_up, succeeded)
        bus.step("writing the report")
        return write_report(folder, figures=True)

    def _leave(self, site: Site, left_up: bool, succeeded: bool) -> None:
        """Takes the lab down, or clears the hosts, unless it was up before us, or a failure is to be looked at."""
        interrupted = isinstance(sys.exception(), KeyboardInterrupt)
        is_kept = self._wanted.keep_on_failure and not succeeded and not interrupted and self._spec.hosts is None
        if is_kept and self._ledger.entries:
            name = self._spec.lab.name
            self._ledger.keep(self._spec.lab.model_dump_json())
            self._bus.note(f"the lab is left up: {left_of(site, self._last)}")
            self._bus.note(f"look with 'whimbrel lab exec {name} {next(iter(site.hosts))} -- virsh list --all'")
            self._bus.note(f"remove it with 'whimbrel lab down {name}'")
        elif not left_up:
            site.down()
        if self._behind is not None and sys.exception() is not None:
            self._write_page(self._behind)

    def _folder(self) -> CampaignFolder:
        wanted = self._wanted
        if not wanted.resumed:
            return CampaignFolder.create(wanted.folder, self._spec, wanted.command, wanted.plans)
        folder = CampaignFolder.open(wanted.folder)
        self._bus.note(f"{folder.made} of {len(wanted.plans)} trials were made before")
        return folder

    def _kept(self, folder: CampaignFolder, stored: StoredTrial) -> None:
        """Between two trials nothing is measured: the page may be written."""
        self._last = stored
        self._behind = folder
        if self._bus.wants_samples:
            tell_figures(self._bus, kept_figures(stored))
        if time.monotonic() >= self._page_due_s:
            self._write_page(folder)

    def _write_page(self, folder: CampaignFolder) -> None:
        """The page as of now. It takes longer with every trial, so the next is due when this one is a thirtieth of the time."""
        self._bus.step("writing the page")
        began_s = time.monotonic()
        try:
            write_report(folder, figures=False)
            self._behind = None
        except Exception as error:
            # A page can be written again; the trials that are still to come cannot be made at another time.
            log.debug("no page", exc_info=True)
            later = f"'whimbrel report {self._wanted.folder}' writes it later"
            self._bus.note(f"the page could not be written; {later}: {error}")
        ended_s = time.monotonic()
        self._page_due_s = ended_s + 29 * (ended_s - began_s)


def _refuse_what_is_deployed(spec: CampaignSpec) -> None:
    """Other guests on the hosts would change what is measured."""
    beside = [each.name for each in others_beside(spec, "")]
    if beside:
        raise UsageError(
            f"in the lab {spec.lab.name!r} something is deployed: {', '.join(beside)}",
            resolution=f"'whimbrel undeploy {beside[0]}', or give this campaign a lab of its own ('--set lab.name=other')",
        )


def left_of(site: Site, last: StoredTrial | None) -> str:
    """What is left of the last trial's guest: what is on the hosts now, not what we last knew."""
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
    # Charts take a third of a second to import, which only those who draw should pay.
    from whimbrel.report.layout import write_figures, write_page

    report = build_report(folder)
    write_page(folder, report)
    if figures:
        write_figures(folder, report)
    return report
