"""What a move of a guest of the user's own would cost: it is profiled where it runs, by its QEMU, and goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whimbrel.hosts.identity import GuestIdentity
from whimbrel.observe.dirty_profile import USUAL_SAMPLE, Profiled, profile_guest
from whimbrel.own.guest import describe, guest_to_move
from whimbrel.own.record import Size, spec_between
from whimbrel.own.standing import Side, vcpus_in
from whimbrel.own.watching import NO_CHECKS
from whimbrel.predict.candidates import candidates_for
from whimbrel.predict.expectation import Expectation
from whimbrel.predict.goals import Choice, Goal, choose
from whimbrel.predict.ladder import Plan, Rung, RungName, options_of, plan_ladder
from whimbrel.predict.move import expectation_of, why_not
from whimbrel.predict.overheads import Overheads
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.trial.foresight import overheads_from

# Who is told how many seconds of profiling are over.
Told = Callable[[float], None]


@dataclass(frozen=True)
class Foreseen:
    """A guest as it was profiled, on its way: all that predictions of its moves are made from."""

    profiled: Profiled
    spec: CampaignSpec
    overheads: Overheads

    def expect(self, migration: MigrationSpec) -> Expectation | None:
        """What a move like this takes; None where that is not predicted."""
        if why_not(migration) is not None:
            return None
        return expectation_of(self.profiled.profile, None, self.spec, migration, self.overheads)

    def choose(self, goal: Goal) -> Choice:
        """The way to move that is expected to meet the goal best."""
        return choose(candidates_for(self.profiled.profile, None, self.spec, self.overheads), goal)

    def climb(self, names: Sequence[RungName], base: MigrationSpec, deadline_s: float | None, most_gap_s: float | None) -> Plan:
        """The ladder of these ways, as far as they are expected to keep within the limits."""
        rungs = []
        for name in names:
            options = options_of(name, most_gap_s)
            rungs.append(Rung(name, options, self.expect(with_options(base, options))))
        return plan_ladder(rungs, deadline_s, most_gap_s)


def with_options(base: MigrationSpec, options: dict[str, object]) -> MigrationSpec:
    """A way to move that differs in these options."""
    return migration_with(base, None, [f"{key}={value}" for key, value in options.items()])


def profile_own(name: str, side: Side, seconds: float, told: Told) -> Profiled:
    """How a guest dirties its memory; UsageError when it does not run there."""
    with side.host.hypervisor() as host:
        known = describe(guest_to_move(host, name))
    return _profiled(known.identity, known.memory_bytes, side, seconds, told)


def foresee(
    name: str, source: Side, destination: Side, migration: MigrationSpec, learn_from: Sequence[Path], seconds: float, told: Told
) -> Foreseen:
    """Profiles it; ``learn_from`` are results of earlier moves, which say what these take beside their memory."""
    overheads = overheads_from(learn_from)
    with source.host.hypervisor() as host:
        known = describe(guest_to_move(host, name))
    size = Size(known.memory_bytes, vcpus_in(known.description))
    spec = spec_between(known.identity.name, size, (source, destination), migration, NO_CHECKS)
    return Foreseen(_profiled(known.identity, known.memory_bytes, source, seconds, told), spec, overheads)


def _profiled(guest: GuestIdentity, memory_bytes: int, side: Side, seconds: float, told: Told) -> Profiled:
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    found = profile_guest(side.host, guest, memory_bytes, seconds, USUAL_SAMPLE, told)
    return Profiled(side.name, found, None, time.monotonic() - began_s, time.process_time() - began_cpu_s)
