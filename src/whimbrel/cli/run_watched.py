"""``run`` of a file whose service is only watched: no lab, no root."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from whimbrel.campaign import estimate_campaign_s
from whimbrel.cli.terminal import Steps
from whimbrel.moves.notes import Origin
from whimbrel.records.store import CampaignFolder, StoredTrial, forget_unmade
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.provenance import commit
from whimbrel.watch.campaign import Told, WatchedCampaign, checks_of
from whimbrel.watch.command import need_command


def run_watched(spec: CampaignSpec, plans: Sequence[Plan], path: Path, resumed: bool, command: str) -> CampaignFolder:
    """Makes the trials; returns their folder. UsageError, before anything is done, for a check that says what cannot be."""
    need_command(("sh",))
    for plan in plans:
        checks_of(spec.in_arm(spec.find_arm(plan.arm)[1]))
    folder = CampaignFolder.open(path) if resumed else CampaignFolder.create(path, spec, command, plans)
    origin = Origin(command=command, commit=commit(), registration=folder.registration)
    began_s = time.monotonic()

    def begun(plan: Plan) -> None:
        nonlocal began_s
        began_s = time.monotonic()
        block = f"block {plan.block}" if plan.counts else "warm-up"
        steps.note(f"trial {plan.order} of {len(plans)} ({steps.left()}): {plan.arm}, {block}")

    def done(stored: StoredTrial) -> None:
        if not stored.record.outcome.succeeded:
            steps.note(f"trial {stored.record.plan.order} failed: {stored.record.outcome.error}")
        steps.done(time.monotonic() - began_s)

    with Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans)) as steps:
        steps.skip(folder.made)
        try:
            WatchedCampaign(spec, plans, folder, origin, Told(steps.step, begun, done)).run()
        except BaseException:
            if not folder.made:
                forget_unmade(path)
            raise
    return folder
