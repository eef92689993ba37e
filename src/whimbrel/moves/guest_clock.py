"""The guest's own clock, which stands still while no copy of it runs: read before a move and after it, and set where asked."""

from __future__ import annotations

from dataclasses import asdict

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.hosts.inside import Inside
from whimbrel.records.trial import GuestClockRead, GuestClockRecord
from whimbrel.spec.migration import MigrationSpec


def clock_before(inside: Inside) -> GuestClockRecord | None:
    """The first reading; None where the clock is the host's own, as in a cell."""
    return GuestClockRecord(before=_read(inside)) if isinstance(inside, GuestAgent) else None


def clock_after(inside: Inside, so_far: GuestClockRecord | None, migration: MigrationSpec) -> GuestClockRecord | None:
    """All readings; what the clock was before it is set is kept."""
    if so_far is None or not isinstance(inside, GuestAgent):
        return so_far
    after = _read(inside)
    if migration.after != "set-clock":
        return so_far.model_copy(update={"after": after})
    inside.set_clock()
    return so_far.model_copy(update={"after": after, "after_setting": _read(inside)})


def _read(agent: GuestAgent) -> GuestClockRead:
    return GuestClockRead(**asdict(agent.read_clock()))
