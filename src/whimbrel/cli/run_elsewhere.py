"""``run`` of a file whose service, or guest, runs already wherever somebody else runs it: no lab, no root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from whimbrel.api.running import Campaigning
from whimbrel.campaign import estimate_campaign_s
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.live import observed
from whimbrel.cli.showing import show_campaign
from whimbrel.cli.terminal import Steps
from whimbrel.events import Bus
from whimbrel.live.beside import Beside
from whimbrel.moves.needs import need_checks
from whimbrel.moves.notes import Invocation
from whimbrel.own.campaign import OwnCampaign, as_found
from whimbrel.records.store import CampaignFolder, forget_unmade
from whimbrel.system.provenance import commit
from whimbrel.trace_parent import TraceParent
from whimbrel.watch.campaign import WatchedCampaign
from whimbrel.watch.command import need_command

# Makes the trials that a folder does not hold yet.
Make = Callable[[CampaignFolder, Invocation, Bus], None]


def run_watched(wanted: Campaigning, seen: Beside | None, watch: bool) -> CampaignFolder:
    """Commands make the moves; returns the folder of the trials.

    UsageError, before anything is done, for a check that says what cannot be.
    """
    need_command(("sh",))
    need_checks(wanted.spec)

    def make(folder: CampaignFolder, invocation: Invocation, bus: Bus) -> None:
        # A trial is a trace of its own.
        new_span = TraceParent.new if seen is not None and seen.makes_spans else None
        WatchedCampaign(wanted.spec, wanted.plans, folder, invocation, bus, new_span).run()

    return _run(wanted, seen, watch, make)


def run_own(wanted: Campaigning, seen: Beside | None, watch: bool) -> CampaignFolder:
    """A guest of the user's own moves there and back; returns the folder of the trials.

    UsageError as above, or when it does not run.
    """
    need_checks(wanted.spec)
    found = wanted if wanted.resumed else replace(wanted, spec=as_found(wanted.spec))

    def make(folder: CampaignFolder, invocation: Invocation, bus: Bus) -> None:
        with Interrupts(None, "aborting the move"):
            OwnCampaign(found.spec, found.plans, folder, invocation, bus).run()

    return _run(found, seen, watch, make)


def _run(wanted: Campaigning, seen: Beside | None, watch: bool, make: Make) -> CampaignFolder:
    spec, plans, path = wanted.spec, wanted.plans, wanted.folder
    folder = CampaignFolder.open(path) if wanted.resumed else CampaignFolder.create(path, spec, wanted.command, plans)
    invocation = Invocation(command=wanted.command, commit=commit(), registration=folder.registration)
    with Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans)) as steps:
        steps.skip(folder.made)
        try:
            with observed(seen) as bus:
                show_campaign(bus, steps, len(plans), watch)
                make(folder, invocation, bus)
        except BaseException:
            if not folder.made:
                forget_unmade(path)
            raise
    return folder
