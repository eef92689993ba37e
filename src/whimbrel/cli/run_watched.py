"""``run`` of a file whose service is only watched: no lab, no root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.campaign import estimate_campaign_s
from whimbrel.cli.live import observed
from whimbrel.cli.showing import CampaignBar
from whimbrel.cli.terminal import Steps
from whimbrel.live.beside import Beside
from whimbrel.moves.needs import need_checks
from whimbrel.moves.notes import Origin
from whimbrel.records.store import CampaignFolder, forget_unmade
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.provenance import commit
from whimbrel.watch.campaign import WatchedCampaign
from whimbrel.watch.command import need_command


def run_watched(
    spec: CampaignSpec, plans: Sequence[Plan], path: Path, resumed: bool, command: str, seen: Beside | None
) -> CampaignFolder:
    """Makes the trials; returns their folder. UsageError, before anything is done, for a check that says what cannot be."""
    need_command(("sh",))
    need_checks(spec)
    folder = CampaignFolder.open(path) if resumed else CampaignFolder.create(path, spec, command, plans)
    origin = Origin(command=command, commit=commit(), registration=folder.registration)
    with Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans)) as steps:
        steps.skip(folder.made)
        try:
            with observed(seen) as bus:
                bus.subscribe("terminal", CampaignBar(steps, len(plans)).observe, samples=False)
                WatchedCampaign(spec, plans, folder, origin, bus).run()
        except BaseException:
            if not folder.made:
                forget_unmade(path)
            raise
    return folder
