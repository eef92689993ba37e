"""``run`` of a file whose service, or guest, runs already wherever somebody else runs it: no lab, no root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from whimbrel.campaign import estimate_campaign_s
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.live import observed
from whimbrel.cli.showing import CampaignBar
from whimbrel.cli.terminal import Steps
from whimbrel.events import Bus
from whimbrel.live.beside import Beside
from whimbrel.moves.notes import Origin
from whimbrel.own.campaign import OwnCampaign, as_found
from whimbrel.records.store import CampaignFolder, forget_unmade
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.provenance import commit
from whimbrel.watch.campaign import WatchedCampaign, checks_of
from whimbrel.watch.command import need_command

# Makes the trials that a folder does not hold yet.
Make = Callable[[CampaignFolder, Origin, Bus], None]


def run_watched(
    spec: CampaignSpec, plans: Sequence[Plan], path: Path, resumed: bool, command: str, seen: Beside | None
) -> CampaignFolder:
    """Commands make the moves; returns the folder of the trials.

    UsageError, before anything is done, for a check that says what cannot be.
    """
    need_command(("sh",))
    _need_checks(spec, plans)

    def make(folder: CampaignFolder, origin: Origin, bus: Bus) -> None:
        WatchedCampaign(spec, plans, folder, origin, bus).run()

    return _run(spec, plans, path, resumed, command, seen, make)


def run_own(
    spec: CampaignSpec, plans: Sequence[Plan], path: Path, resumed: bool, command: str, seen: Beside | None
) -> CampaignFolder:
    """A guest of the user's own moves there and back; returns the folder of the trials.

    UsageError as above, or when it does not run.
    """
    _need_checks(spec, plans)
    found = spec if resumed else as_found(spec)

    def make(folder: CampaignFolder, origin: Origin, bus: Bus) -> None:
        with Interrupts(None, "aborting the move"):
            OwnCampaign(found, plans, folder, origin, bus).run()

    return _run(found, plans, path, resumed, command, seen, make)


def _need_checks(spec: CampaignSpec, plans: Sequence[Plan]) -> None:
    for plan in plans:
        checks_of(spec.in_arm(spec.find_arm(plan.arm)[1]))


def _run(
    spec: CampaignSpec, plans: Sequence[Plan], path: Path, resumed: bool, command: str, seen: Beside | None, make: Make
) -> CampaignFolder:
    folder = CampaignFolder.open(path) if resumed else CampaignFolder.create(path, spec, command, plans)
    origin = Origin(command=command, commit=commit(), registration=folder.registration)
    with Steps(len(plans), estimate_campaign_s(spec, plans) / len(plans)) as steps:
        steps.skip(folder.made)
        try:
            with observed(seen) as bus:
                bus.subscribe("terminal", CampaignBar(steps, len(plans)).observe, samples=False)
                make(folder, origin, bus)
        except BaseException:
            if not folder.made:
                forget_unmade(path)
            raise
    return folder
