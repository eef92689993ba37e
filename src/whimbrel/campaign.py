"""A campaign: which trials, in which order; makes them one after the other and keeps each as soon as it is done."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.guests.states import StateInfo, StateStore
from whimbrel.hosts.site import Site
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec, ScenarioSpec
from whimbrel.trial.notes import Origin
from whimbrel.trial.trial import Trial

# For the estimate only: restoring, starting viewers and tidying up around what the scenario asks for, and how many of
# a guest's bytes are usually in use. Measured on two emulated cores; a real trial corrects the estimate at once.
_AROUND_A_TRIAL_S = 6.0
_SHARE_OF_MEMORY_IN_USE = 0.35
_MAKING_A_STATE_S = 60.0


def plan_trials(spec: CampaignSpec, only: frozenset[str] = frozenset(), repeat: int | None = None) -> list[Plan]:
    """Every trial of the campaign in the order it will be made: shuffled by the seed.

    Trials of one arm take turns among the saved states, each arm beginning with another one. ``only`` keeps the named
    scenarios, ``repeat`` sets the number of trials of each arm. UsageError for a name that the file does not have.
    """
    known = {scenario.name for scenario in spec.scenarios}
    unknown = sorted(only - known)
    if unknown:
        raise UsageError(f"there is no scenario {unknown[0]!r} in the file", resolution=f"it has: {', '.join(sorted(known))}")
    wanted = [
        (scenario.name, arm, repetition)
        for scenario in spec.scenarios
        if not only or scenario.name in only
        for arm in scenario.arms
        for repetition in range(1, (repeat or arm.trials) + 1)
    ]
    random.Random(spec.seed).shuffle(wanted)
    offsets = {(scenario.name, arm): position for scenario in spec.scenarios for position, arm in enumerate(scenario.arms)}
    plans = []
    for order, (scenario_name, arm, repetition) in enumerate(wanted, 1):
        boot = (offsets[scenario_name, arm] + repetition - 1) % spec.guest.saved_states + 1
        plans.append(Plan(scenario=scenario_name, viewers=arm.viewers, hls_viewers=arm.hls_viewers, repetition=repetition,
                          order=order, state_boot=boot))  # fmt: skip
    return plans


def estimate_trial_s(spec: CampaignSpec) -> float:
    """About how long a trial takes, in seconds."""
    observe = spec.observe
    rate = min(spec.link_rate_bytes_per_s, spec.migration.bandwidth_bytes_per_s or spec.link_rate_bytes_per_s)
    moving_s = spec.guest.memory_bytes * _SHARE_OF_MEMORY_IN_USE / rate
    return _AROUND_A_TRIAL_S + observe.at_rest_s + observe.before_s + observe.after_s + moving_s


def estimate_states_s(plans: list[Plan]) -> float:
    """About how long making every saved state takes when none is there yet, in seconds."""
    return len({(plan.scenario, plan.state_boot) for plan in plans}) * _MAKING_A_STATE_S


@dataclass(frozen=True)
class Progress:
    """Who is told how a campaign goes."""

    step: Callable[[str], None]
    trial_started: Callable[[Plan], None]
    trial_done: Callable[[StoredTrial], None]


class Campaign:
    """Makes the planned trials at a site that is ready."""

    def __init__(
        self,
        spec: CampaignSpec,
        plans: list[Plan],
        site: Site,
        folder: CampaignFolder,
        origin: Origin,
        progress: Progress,
        keep_on_failure: bool = False,
    ) -> None:
        self._spec = spec
        self._plans = plans
        self._site = site
        self._folder = folder
        self._origin = origin
        self._progress = progress
        self._keep_on_failure = keep_on_failure

    def run(self) -> list[StoredTrial]:
        """Makes every trial, and each saved state when it is first needed.

        UnsafeStateError, once the trial is recorded, when nobody knows where its guest runs: nothing more is started then.
        With ``keep_on_failure`` the first failure is the last trial.
        """
        states = StateStore(self._site, self._spec.guest, self._spec.stream)
        done = []
        for plan in self._plans:
            # A state that has to be made first is no part of how long trials take.
            state = self._state(states, plan)
            for name in self._site.mend():
                self._progress.step(f"host {name} had died and was started again")
            self._progress.trial_started(plan)
            stored = self._make(state, plan)
            done.append(stored)
            self._progress.trial_done(stored)
            outcome = stored.record.outcome
            if outcome.result == "unsafe":
                raise UnsafeStateError(outcome.error or "unsafe", resolution=f"logs and record of the trial: {stored.folder}")
            if self._keep_on_failure and not outcome.succeeded:
                break
        return done

    def _make(self, state: StateInfo, plan: Plan) -> StoredTrial:
        workplace = self._folder.workplace(plan.order)
        entry = self._site.ledger.add("folder", str(workplace))
        entry.undo()
        workplace.mkdir(parents=True)
        try:
            trial = Trial(
                self._site, self._spec, plan, state, workplace, self._origin, self._progress.step, self._keep_on_failure
            )
            stored = self._folder.commit(workplace, trial.run())
        except BaseException:
            self._site.ledger.undo(entry)
            raise
        self._site.ledger.strike(entry)
        return stored

    def _state(self, states: StateStore, plan: Plan) -> StateInfo:
        scenario = self._scenario(plan.scenario)
        return states.get(scenario.form, scenario.service, plan.state_boot)

    def _scenario(self, name: str) -> ScenarioSpec:
        return next(scenario for scenario in self._spec.scenarios if scenario.name == name)
