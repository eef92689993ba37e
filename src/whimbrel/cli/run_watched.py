"""``run`` of a file whose service is only watched: no lab, no root."""

from __future__ import annotations

from whimbrel.api.running import Campaigning
from whimbrel.campaign import estimate_campaign_s
from whimbrel.cli.live import observed
from whimbrel.cli.showing import show_campaign
from whimbrel.cli.terminal import Steps
from whimbrel.live.beside import Beside
from whimbrel.moves.needs import need_checks
from whimbrel.moves.notes import Invocation
from whimbrel.records.store import CampaignFolder, forget_unmade
from whimbrel.system.provenance import commit
from whimbrel.trace_parent import TraceParent
from whimbrel.watch.campaign import WatchedCampaign
from whimbrel.watch.command import need_command


def run_watched(wanted: Campaigning, seen: Beside | None, watch: bool) -> CampaignFolder:
    """Makes the trials; returns their folder. UsageError, before anything is done, for a check that says what cannot be."""
    spec, plans, path = wanted.spec, wanted.plans, wanted.folder
    need_command(("sh",))
    need_checks(spec)
    folder = CampaignFolder.open(path) if wanted.resumed else CampaignFolder.create(path, spec, wanted.command, plans)
    invocation = Invocation(command=wanted.command, commit=commit(), registration=folder.registration)
    with Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans)) as steps:
        steps.skip(folder.made)
        try:
            with observed(seen) as bus:
                show_campaign(bus, steps, len(plans), watch)
                # A trial is a trace of its own.
                new_span = TraceParent.new if seen is not None and seen.makes_spans else None
                WatchedCampaign(spec, plans, folder, invocation, bus, new_span).run()
        except BaseException:
            if not folder.made:
                forget_unmade(path)
            raise
    return folder
