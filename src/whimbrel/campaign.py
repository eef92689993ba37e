"""A campaign: which trials, in which order; makes them one after the other and keeps each as soon as it is done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from whimbrel.analysis.exclusion import spoilt
from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.events import MORE_PLANNED, PLANNED, TRIAL_BEGUN, TRIAL_DONE, Bus, planned
from whimbrel.hosts.site import Site
from whimbrel.images.store import ImageStore
from whimbrel.moves.fresh import Start
from whimbrel.moves.making import make_states
from whimbrel.moves.needs import wanted_of
from whimbrel.moves.notes import Invocation
from whimbrel.moves.possible import need_container_techniques
from whimbrel.moves.starts import Starts
from whimbrel.moves.working_folder import working_folder
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.spec.arms import ArmSpec
from whimbrel.spec.campaign import CampaignSpec, ScenarioSpec
from whimbrel.trial.foresight import Foresight
from whimbrel.trial.trial import Trial

# For the estimate only: restoring, starting viewers and tidying up around what the scenario asks for, and how many of
# a guest's bytes are usually in use. Measured on two emulated cores; a real trial corrects the estimate at once.
_AROUND_A_TRIAL_S = 6.0
_SHARE_OF_MEMORY_IN_USE = 0.35
_MAKING_A_STATE_S = 60.0
# Until all is steady, and until all is as before; how long the command takes nobody knows.
_A_WATCHED_TRIAL_S = 15.0


def plan_trials(spec: CampaignSpec, only: frozenset[str] = frozenset(), repeat: int | None = None) -> list[Plan]:
    """Every trial of the campaign in the order it will be made: block by block, each shuffled by the seed.

    A block holds every arm once; blocks from A to B and from B to A take turns. The arms of a block start from the same boot
    of their form, and blocks take turns among the boots. Blocks that warm the machine up come first. ``only`` keeps the named
    scenarios, ``repeat`` sets the number of trials of each arm. UsageError for a name that the file does not have.
    """
    known = {scenario.name for scenario in spec.scenarios}
    unknown = sorted(only - known)
    if unknown:
        raise UsageError(f"there is no scenario {unknown[0]!r} in the file", resolution=f"it has: {', '.join(sorted(known))}")
    members = [
        _Member(scenario, arm, repeat or (spec.evidence.blocks if spec.evidence else arm.trials))
        for scenario in spec.scenarios
        if not only or scenario.name in only
        for arm in scenario.every_arm
    ]
    shuffle = random.Random(spec.seed)
    warm_up_blocks = spec.evidence.warm_up_blocks if spec.evidence and repeat is None else 0
    plans: list[Plan] = []
    for block in [0] * warm_up_blocks + list(range(1, max(member.trials for member in members) + 1)):
        present = [member for member in members if block <= member.trials]
        shuffle.shuffle(present)
        plans += [member.plan(spec, block, len(plans) + order) for order, member in enumerate(present, 1)]
    return plans


def plan_again(spec: CampaignSpec, plans: Sequence[Plan], block: int) -> list[Plan]:
    """A block that takes the place of one that was spoilt: the same arms, from the same states and the same side, shuffled anew.

    Its number and its trials' follow those of all ``plans``.
    """
    fresh = max(plan.block for plan in plans) + 1
    again = [plan for plan in plans if plan.block == block]
    random.Random(f"{spec.seed} {fresh}").shuffle(again)
    return [
        plan.model_copy(update={"block": fresh, "repeats": plan.repeats or block, "order": len(plans) + order})
        for order, plan in enumerate(again, 1)
    ]


def readied_with(plan: Plan, spec: CampaignSpec, plans: Sequence[Plan], made: Container[int]) -> list[Plan]:
    """The trials whose saved states are made before this one: those of its block that are not made yet (``made``: orders).

    All that are still to come where hypotheses are registered.
    """
    to_come = [each for each in plans if each.order not in made]
    return to_come if spec.evidence is not None else [each for each in to_come if each.block == plan.block]


def _boot(block: int, boots: int) -> int:
    """Which boot's states a block starts from. With an even number of boots each would always move the same way, so every
    other time round they are shifted by one.
    """
    cycle, position = divmod(block - 1, boots)
    shift = cycle if boots % 2 == 0 else 0
    return (position + shift) % boots + 1


@dataclass(frozen=True)
class _Member:
    """An arm that takes part in the first ``trials`` blocks."""

    scenario: ScenarioSpec
    arm: ArmSpec
    trials: int

    def plan(self, spec: CampaignSpec, block: int, order: int) -> Plan:
        assert self.arm.name is not None
        source, destination = spec.host_names[:2]
        if block % 2 == 0 and block > 0 and not spec.watched:
            source, destination = destination, source
        return Plan(
            scenario=self.scenario.name,
            arm=self.arm.name,
            form=self.arm.form or self.scenario.form,
            viewers=self.arm.viewers,
            hls_viewers=self.arm.hls_viewers,
            vlc_viewers=self.arm.vlc_viewers,
            checks=_own_checks(spec.in_arm(self.arm)),
            engine=self.arm.engine,
            moves=self.arm.moves,
            block=block,
            source=source,
            destination=destination,
            order=order,
            state_boot=_boot(max(block, 1), spec.guest.saved_states),
        )


def _own_checks(spec: CampaignSpec) -> int:
    return len(spec.service.checks) if spec.service is not None and spec.own_image is not None else 0


def need_possible(spec: CampaignSpec, plans: Sequence[Plan], store: ImageStore) -> None:
    """CapabilityError when this machine cannot make a move that is planned; tried only where that depends on the machine."""
    arms = sorted({plan.arm for plan in plans if plan.form == "container" and plan.moves})
    need_container_techniques({f"arm {arm!r}": spec.in_arm(spec.find_arm(arm)[1]).migration.technique for arm in arms}, store)


def estimate_trial_s(spec: CampaignSpec) -> float:
    """About how long a trial takes, in seconds."""
    observe = spec.observe
    if spec.watched:
        return _A_WATCHED_TRIAL_S
    rate = min(spec.link_rate_bytes_per_s, spec.migration.bandwidth_set_bytes_per_s or spec.link_rate_bytes_per_s)
    moving_s = spec.guest.memory_bytes * _SHARE_OF_MEMORY_IN_USE / rate
    return _AROUND_A_TRIAL_S + observe.at_rest_s + observe.before_s + observe.after_s + moving_s


def estimate_campaign_s(spec: CampaignSpec, plans: Sequence[Plan]) -> float:
    """About how long all these trials take, in seconds, each in its arm's own settings."""
    each_s = {arm.name: estimate_trial_s(spec.in_arm(arm)) for scenario in spec.scenarios for arm in scenario.every_arm}
    return sum(each_s[plan.arm] for plan in plans)


def estimate_profiles_s(spec: CampaignSpec, plans: Sequence[Plan]) -> float:
    """About how long profiling takes, in seconds, when no guest has a profile yet."""
    for_s = spec.observe.profile_for_s
    if for_s is None:
        return 0.0
    guests = {(plan.scenario, plan.viewers, spec.in_arm(spec.find_arm(plan.arm)[1]).guest, plan.state_boot) for plan in plans}
    return len(guests) * (for_s + spec.observe.at_rest_s + _AROUND_A_TRIAL_S)


def estimate_states_s(plans: list[Plan]) -> float:
    """About how long making every saved state takes when none is there yet, in seconds."""
    with_states = [plan for plan in plans if plan.form in ("vm", "nested")]
    saved = {(plan.scenario, plan.form, plan.engine, plan.state_boot) for plan in with_states}
    return len(saved) * _MAKING_A_STATE_S


class Campaign:
    """Makes the planned trials at a site that is ready; those that ``folder`` already holds are not made again.

    How it goes is published on ``bus``. ``between`` is called with each new trial when it is kept, before the next one begins.
    """

    def __init__(
        self,
        spec: CampaignSpec,
        plans: list[Plan],
        site: Site,
        folder: CampaignFolder,
        invocation: Invocation,
        bus: Bus,
        between: Callable[[StoredTrial], None] = lambda stored: None,
        keep_on_failure: bool = False,
    ) -> None:
        self._spec = spec
        self._plans = list(plans)
        self._site = site
        self._folder = folder
        self._invocation = invocation
        self._bus = bus
        self._between = between
        self._keep_on_failure = keep_on_failure
        self._rate_bytes_per_s = spec.link_rate_bytes_per_s
        # By block: how many trials it takes, and those that are done. And how many blocks have taken the place of others.
        self._planned = Counter(plan.block for plan in plans)
        self._of_block: dict[int, list[StoredTrial]] = {}
        self._repeats = 0
        self._starts = Starts(site)
        self._ready: set[int] = set()
        self._foresight = Foresight(site, folder, bus.step)

    def run(self) -> list[StoredTrial]:
        """Makes every trial, and before it the saved states and profiles that are missing; returns those made before, too.

        A campaign that registers hypotheses has all of these made before its first trial, any other one those of a block before
        that block, so that its first results come soon. They are never made within a block: making one keeps the machine busy for
        a minute, and would do so before some arms more than others.

        A block with a trial that was spoilt before its move began is made again, as often as the file allows.
        UnsafeStateError, once the trial is recorded, when nobody knows where its guest runs: nothing more is started then.
        With ``keep_on_failure`` the first failure is the last trial.
        """
        before = {stored.record.plan.order: stored for stored in self._folder.trials()}
        self._bus.tell(PLANNED, trials=planned(self._plans, before))
        done: list[StoredTrial] = []
        try:
            # A lab that was left up may have the rate of another campaign's last arm.
            self._site.network.shape_links(self._rate_bytes_per_s)
            while len(done) < len(self._plans):
                plan = self._plans[len(done)]
                known = before.get(plan.order)
                if known is None and plan.order not in self._ready:
                    self._get_ready_for(plan, before)
                stored = known or self._next(plan)
                done.append(stored)
                self._foresight.learn(stored)
                self._see_to_block(stored)
                if self._keep_on_failure and known is None and not stored.record.outcome.succeeded:
                    break
        finally:
            self._shape(self._spec)
        return done

    def _get_ready_for(self, plan: Plan, before: Mapping[int, StoredTrial]) -> None:
        """Makes the saved states and profiles of this trial, and of those that are to have theirs with it."""
        together = readied_with(plan, self._spec, self._plans, before)
        wanted = wanted_of(self._spec, together)
        make_states(wanted, self._starts, self._site, self._bus.step)
        self._shape(self._spec)
        for spec, each in wanted:
            self._foresight.prepare(spec, each, self._starts.get(spec, each))
        self._ready |= {each.order for each in together}

    def _next(self, plan: Plan) -> StoredTrial:
        spec = self._in_arm(plan)
        self._shape(spec)
        state = self._starts.get(spec, plan)
        for name in self._site.mend():
            self._bus.step(f"host {name} had died and was started again")
        self._bus.tell(TRIAL_BEGUN, **plan.model_dump())
        stored = self._make(spec, state, plan)
        outcome = stored.record.outcome
        self._bus.tell(TRIAL_DONE, order=plan.order, arm=plan.arm, **outcome.told)
        self._between(stored)
        if outcome.result == "unsafe":
            raise UnsafeStateError(outcome.error or "unsafe", resolution=f"logs and record of the trial: {stored.folder}")
        return stored

    def _in_arm(self, plan: Plan) -> CampaignSpec:
        return self._spec.in_arm(self._spec.find_arm(plan.arm)[1])

    def _see_to_block(self, stored: StoredTrial) -> None:
        """When a block is complete and one of its trials was spoilt, plans it again."""
        block, evidence = stored.record.plan.block, self._spec.evidence
        members = self._of_block.setdefault(block, [])
        members.append(stored)
        if block == 0 or evidence is None or len(members) < self._planned[block]:
            return
        reasons = [reason for member in members for reason in spoilt(member.record, member.series("hosts"))]
        if reasons and self._repeats < evidence.repeats:
            self._bus.step(f"block {block} will be made again: {reasons[0]}")
            again = plan_again(self._spec, self._plans, block)
            self._plans += again
            self._planned[again[0].block] = len(again)
            self._repeats += 1
            self._bus.tell(MORE_PLANNED, trials=planned(again))

    def _make(self, spec: CampaignSpec, state: Start, plan: Plan) -> StoredTrial:
        with working_folder(self._site.ledger, plan.order) as folder:
            trial = Trial(
                self._site, spec, plan, state, folder, self._invocation, self._bus, self._keep_on_failure,
                self._foresight.of(spec, plan),
            )  # fmt: skip
            return self._folder.commit(folder, trial.run())

    def _shape(self, spec: CampaignSpec) -> None:
        if spec.link_rate_bytes_per_s != self._rate_bytes_per_s:
            self._site.network.shape_links(spec.link_rate_bytes_per_s)
            self._rate_bytes_per_s = spec.link_rate_bytes_per_s
