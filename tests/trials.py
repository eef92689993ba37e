"""One trial in the tests' lab, as a campaign makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whimbrel.campaign import plan_trials
from whimbrel.events import Bus
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.migrate.verify import Copies, find_copies
from whimbrel.moves.notes import Invocation
from whimbrel.moves.working_folder import working_folder
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.trial.trial import Trial


class Telling(Bus):
    """Tells of each step at once, on the thread that takes it: for tests that act at a step."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told

    def step(self, text: str) -> None:
        super().step(text)
        self._told(text)


def make_trial(
    lab: Lab,
    states: StateStore,
    spec: CampaignSpec,
    scenario: str,
    viewers: int,
    folder: Path,
    notice: Callable[[str], None] = print,
    keep_on_failure: bool = False,
    hls_viewers: int = 0,
    vlc_viewers: int = 0,
    bus: Bus | None = None,
) -> StoredTrial:
    chosen = next(found for found in spec.scenarios if found.name == scenario)
    watching = {"viewers": viewers, "hls_viewers": hls_viewers, "vlc_viewers": vlc_viewers}
    plan = plan_trials(spec, frozenset({scenario}))[0].model_copy(update=watching)
    campaign = CampaignFolder.create(folder, spec, "test", [plan])
    state = states.get(chosen.form, chosen.service, 1)
    with working_folder(lab.ledger, plan.order) as folder:
        trial = Trial(lab, spec, plan, state, folder, Invocation("test", None), bus or Telling(notice), keep_on_failure)
        return campaign.commit(folder, trial.run())


def no_guest_runs(lab: Lab) -> bool:
    return find_copies(lab.guest, [lab.hosts["a"], lab.hosts["b"]]) == Copies([], [])
