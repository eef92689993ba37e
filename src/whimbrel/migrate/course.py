"""The course of a live move: what was seen of it goes in, what is to be done comes out. Pure.

::

    under way --given--> ordered --taken--> switched
        ^                   |
        +------refused------+

An order that libvirt refused (another job held its lock) is given again with the next look. Once interrupted, a move is aborted
as soon as it may be, and waited for as long as it may not and gets on. A course never changes: each transition makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from whimbrel.migrate.limits import due, pause_limit_s
from whimbrel.spec.migration import MigrationSpec

# How long stop-and-copy, or post-copy, may take without getting on.
LAST_PATIENCE_S = 600.0

Order: TypeAlias = Literal["stop and copy", "post-copy"]
Stage: TypeAlias = Literal["under way", "ordered", "switched"]


@dataclass(frozen=True)
class Sight:
    """What is seen in one look: seconds since the call, passes over memory that have begun, why it is to be aborted."""

    elapsed_s: float
    rounds: int
    why_abort: str | None = None


@dataclass(frozen=True)
class RaiseLimit:
    """Let QEMU plan for a pause as long as this."""

    seconds: float


@dataclass(frozen=True)
class Switch:
    """Stop the guest and copy the rest, or let it go first; ``again`` after a refusal."""

    order: Order
    again: bool


@dataclass(frozen=True)
class AskHowFar:
    """Ask how much was sent, and tell ``Course.how_far``."""


@dataclass(frozen=True)
class Abort:
    """The action that aborts the move, with its reason."""

    why: str


CourseAction: TypeAlias = RaiseLimit | Switch | AskHowFar | Abort


@dataclass(frozen=True)
class Course:
    """How far a live move has come, as its limits see it.

    ``limit_s`` is the longest pause that QEMU may plan for now, ``disk_s`` how long the disk took before the first round (0 when
    none moves along). ``order`` is the last one that was given, and ``follows`` says that memory follows the guest, or may: the
    answer is open. ``switched_s`` is when libvirt took the order; ``got_on_s`` and ``moved_bytes`` are when, and with how much
    sent, the move was last seen to get on.
    """

    spec: MigrationSpec
    limit_s: float
    stage: Stage = "under way"
    disk_s: float = 0.0
    order: Order | None = None
    follows: bool = False
    switched_s: float | None = None
    got_on_s: float = 0.0
    moved_bytes: int | None = None
    is_interrupted: bool = False

    @classmethod
    def begin(cls, spec: MigrationSpec) -> Course:
        """The course of a move whose call has not been made yet."""
        return cls(spec, pause_limit_s(spec, 0.0))

    @property
    def may_abort(self) -> bool:
        """Whether the source can still have its guest back: not when the guest was told to go before its memory."""
        return not self.follows

    def look(self, sight: Sight) -> tuple[Course, tuple[CourseAction, ...]]:
        """What follows from one look; after an ``Abort`` nothing else does."""
        if self.is_interrupted:
            return self, self._to_its_end(sight.elapsed_s)
        if self.may_abort and sight.why_abort is not None:
            return self, (Abort(sight.why_abort),)
        now = self._with_disk(sight)
        wanted = due(now.spec, sight.rounds, sight.elapsed_s, now.disk_s)
        if now.may_abort and wanted == "abort":
            return now, (Abort(f"not done after {sight.elapsed_s:.0f} s"),)
        if now.stage == "switched":
            return now, now._ask(sight.elapsed_s)
        after, raised = now._with_limit(sight.elapsed_s)
        if wanted == "stop and copy" or wanted == "post-copy":
            return after, (*raised, Switch(wanted, again=wanted == now.order))
        return after, raised

    def given(self, order: Order) -> Course:
        """The order is about to be given. Said before, for Ctrl-C may come before the answer does."""
        return replace(self, stage="ordered", order=order, follows=order == "post-copy")

    def refused(self) -> Course:
        """Libvirt was busy and did not take the order, or the move has just ended by itself."""
        return replace(self, stage="under way", follows=False)

    def taken(self, elapsed_s: float, moved_bytes: int | None) -> Course:
        """Libvirt took the order: of post-copy, the point of no return. ``moved_bytes`` had been sent; None: nobody answered."""
        return replace(self, stage="switched", switched_s=elapsed_s, got_on_s=elapsed_s, moved_bytes=moved_bytes)

    def how_far(self, elapsed_s: float, moved_bytes: int | None) -> tuple[Course, tuple[CourseAction, ...]]:
        """However much memory follows a guest, it is waited for while it comes; not when nothing came for long, nor
        when nobody answers.
        """
        if moved_bytes is None or moved_bytes == self.moved_bytes:
            since_s = elapsed_s - (self.switched_s or 0.0)
            return self, (Abort(f"not done {since_s:.0f} s after the switch, and it no longer gets on"),)
        return replace(self, got_on_s=elapsed_s, moved_bytes=moved_bytes), ()

    def interrupted(self, elapsed_s: float) -> tuple[Course, tuple[CourseAction, ...]]:
        """What follows from Ctrl-C."""
        now = replace(self, is_interrupted=True, got_on_s=elapsed_s)
        return now, now._to_its_end(elapsed_s)

    def _to_its_end(self, elapsed_s: float) -> tuple[CourseAction, ...]:
        return (Abort("interrupted"),) if self.may_abort else self._ask(elapsed_s)

    def _ask(self, elapsed_s: float) -> tuple[CourseAction, ...]:
        return (AskHowFar(),) if elapsed_s - self.got_on_s > LAST_PATIENCE_S else ()

    def _with_disk(self, sight: Sight) -> Course:
        is_copied_now = sight.rounds == 0 and self.spec.storage != "shared"
        return replace(self, disk_s=sight.elapsed_s) if is_copied_now else self

    def _with_limit(self, elapsed_s: float) -> tuple[Course, tuple[CourseAction, ...]]:
        limit_s = pause_limit_s(self.spec, elapsed_s - self.disk_s)
        return (replace(self, limit_s=limit_s), (RaiseLimit(limit_s),)) if limit_s > self.limit_s else (self, ())
