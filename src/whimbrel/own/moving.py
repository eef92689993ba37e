"""Moves a guest of the user's own, and leaves everything else as it was."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from whimbrel.analysis.answers import CheckFigures
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.analysis.watched import named_figures
from whimbrel.engines.guest_addresses import addresses_of
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import EngineError, UsageError
from whimbrel.events import FIGURES, TOLD, TRIAL_DONE, Bus
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.hosts.preflight.finding import Finding
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.moves.notes import Invocation
from whimbrel.own.attempt import Attempt
from whimbrel.own.claim import claim, give_back, refuse_claimed
from whimbrel.own.guest import describe, find_guest, guest_to_move
from whimbrel.own.preflight.examine import examine_guest
from whimbrel.own.preflight.gate import in_words, refuse_blocked
from whimbrel.own.record import Kept, plan_of, spec_of
from whimbrel.own.standing import OwnMove, Side, find_move, is_open
from whimbrel.own.watching import NO_CHECKS, Checks, Watch
from whimbrel.records.store import CampaignFolder, StoredTrial, forget_unmade
from whimbrel.records.trial import TrialRecord
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.provenance import commit
from whimbrel.system.scratch import scratch_folder
from whimbrel.units import format_rate


@dataclass(frozen=True)
class Asked:
    """What is to be done with a guest.

    ``persistent`` None: the destination keeps its description if the source does. ``take_over``: also where somebody who has
    crashed has claimed it. ``force``: also past what blocks it, unless two copies could run, or data be lost.
    ``checks`` are asked meanwhile; None: echo to the addresses that libvirt knows of it. ``out`` keeps the record in that folder,
    with samples of the hosts; ``command`` is how it was asked for. ``kept`` is where the record belongs instead, as a trial.
    How it goes is published on ``bus``.
    """

    name: str
    source: Side
    destination: Side
    spec: MigrationSpec
    persistent: bool | None = None
    take_over: bool = False
    force: bool = False
    checks: Checks | None = NO_CHECKS
    out: Path | None = None
    command: str = ""
    kept: Kept | None = None
    bus: Bus = field(default_factory=Bus)


@dataclass(frozen=True)
class OwnMoved:
    """How it ended; ``changed`` are the lines by which the description differs that a host keeps of it, before and after.

    ``found`` is what stood against it before it began, ``checks`` what each check saw of it by its name. ``folder`` holds the
    campaign that its record is part of; None where it is not kept.
    """

    move: OwnMove
    ending: Ending
    record: TrialRecord
    figures: TrialFigures
    checks: dict[str, CheckFigures]
    found: list[Finding]
    changed: list[str]
    folder: Path | None


def move_own(asked: Asked) -> OwnMoved:
    """Moves it; how a move that failed ended is in what is returned.

    UsageError, and nothing done, where it cannot be; CapabilityError where something that was seen beforehand blocks it.
    """
    _refuse_what_does_not_go(asked.spec)
    asked = _within_limits(asked)
    source, destination = asked.source.host, asked.destination.host
    refuse_one_host(source, destination)
    with source.hypervisor() as here, destination.hypervisor() as there:
        # First: of a guest that was moved nobody must hear that it could be started here.
        found = find_guest(here, asked.name)
        _refuse_unfinished(asked.name, found)
        if found is not None and found.active:
            # Who has it is to be heard, rather than what follows from that: while it moves it is on both hosts.
            refuse_claimed(found, "", asked.take_over)
        _refuse_where_it_is(there, found, asked)
        guest = guest_to_move(here, asked.name)
        move = _move_of(guest, asked)
        against = examine_guest(guest, (here, there), (asked.source, asked.destination), asked.spec)
        refuse_blocked(asked.name, against, asked.force)
        for words in in_words(against):
            asked.bus.note(words)
        with scratch_folder() as folder, _kept(move, asked) as kept:
            with Watch(_checks_of(guest, asked), sampled_of(asked), folder, asked.bus) as watch:
                attempt = Attempt(move, folder, watch, asked.bus)
                _make(attempt, guest, move, asked.take_over)
            assert attempt.ending is not None
            record = attempt.record(kept)
            stored = kept.folder.commit(folder, record) if kept.folder is not None else StoredTrial(folder, record)
            figures, checks = figures_of(stored), named_figures(record, stored.series("checks"))
            asked.bus.tell(FIGURES, **figures.model_dump(include=TOLD))
            arm = move.guest.name if asked.kept is None else kept.plan.arm
            asked.bus.tell(TRIAL_DONE, order=kept.plan.order, arm=arm, **record.outcome.told)
            where = kept.folder.folder if kept.folder is not None else None
            return OwnMoved(move, attempt.ending, record, figures, checks, against, attempt.changed, where)


def _make(attempt: Attempt, guest: Guest, move: OwnMove, take_over: bool) -> None:
    """Under a claim that is given back whatever comes."""
    move.write()
    move.abort_file.unlink(missing_ok=True)
    try:
        claim(guest, move.token, take_over)
        attempt.make()
    except BaseException:
        # Nothing was moved, or nobody knows; then its journal says so.
        if not is_open(move):
            with suppress(EngineError):
                give_back(guest, move.token)
        raise


@contextmanager
def _kept(move: OwnMove, asked: Asked) -> Iterator[Kept]:
    """Where its record belongs; by itself it is a campaign of this one move. UsageError when its folder holds results already.

    A folder in which nothing came to lie is removed again.
    """
    if asked.kept is not None:
        yield asked.kept
        return
    spec = spec_of(move, asked.checks or NO_CHECKS)
    plan = plan_of(spec, move.source.name, move.destination.name)
    ours = asked.out is not None and not asked.out.exists()
    folder = CampaignFolder.create(asked.out.absolute(), spec, asked.command, [plan]) if asked.out is not None else None
    try:
        yield Kept(spec, plan, Invocation(command=asked.command, commit=commit()), folder)
    finally:
        if ours and asked.out is not None:
            forget_unmade(asked.out)


def _checks_of(guest: Guest, asked: Asked) -> Checks:
    """What was asked for; else echo to where libvirt knows that the guest is, as far as it answers."""
    if asked.checks is not None:
        return asked.checks
    return Checks(tuple(map(echo_of, addresses_of(guest))), given=False)


def echo_of(address: str) -> str:
    """The check that sends echo requests there."""
    return f"icmp:[{address}]#{address},rate=100" if ":" in address else f"icmp:{address}#{address},rate=100"


def sampled_of(asked: Asked) -> list[Side]:
    """The hosts, where that is kept; a sample is some work for their libvirt."""
    return [asked.source, asked.destination] if (asked.out or asked.kept) is not None else []


def _move_of(guest: Guest, asked: Asked) -> OwnMove:
    """What is to be done with it. UsageError where it would be started twice one day."""
    known = describe(guest)
    keep_there = known.persistent if asked.persistent is None else asked.persistent
    if known.autostart and not keep_there:
        raise UsageError(
            f"host {asked.source.name} would keep {asked.name} and start it with itself: a second copy of a guest that runs",
            resolution=f"leave out --transient, or 'virsh autostart --disable {asked.name}' first; nothing was moved",
        )
    return OwnMove(
        guest=known.identity, source=asked.source, destination=asked.destination, memory_bytes=known.memory_bytes,
        persistent=known.persistent, keep_there=keep_there, autostart=known.autostart, description=known.description,
        definition=known.definition, spec=asked.spec, token=uuid.uuid4().hex,
    )  # fmt: skip


def _refuse_what_does_not_go(spec: MigrationSpec) -> None:
    if spec.technique == "cold" or spec.moves != "vm":
        raise UsageError(
            f"the technique {spec.technique} is not for guests that whimbrel has not deployed",
            resolution="shut it down, and start it on the other host ('virsh shutdown', 'virsh define', 'virsh start')",
        )
    if spec.storage != "shared" or spec.by != "whimbrel":
        raise UsageError("a guest of your own is moved with its disk where both hosts see it, by whimbrel itself")
    if spec.after != "nothing":
        raise UsageError("the clock of a guest of your own is left to it: leave out 'after'")


def _within_limits(asked: Asked) -> Asked:
    """No faster than either host's owner wants."""
    sides = (asked.source, asked.destination)
    limits = [each.most_bandwidth_bytes_per_s for each in sides if each.most_bandwidth_bytes_per_s is not None]
    wanted = asked.spec.bandwidth_bytes_per_s
    if not limits or (wanted is not None and wanted <= min(limits)):
        return asked
    asked.bus.note(f"held to {format_rate(min(limits))}, as its hosts' owner wants ('most_bandwidth')")
    return replace(asked, spec=asked.spec.model_copy(update={"bandwidth_bytes_per_s": min(limits)}))


def _refuse_where_it_is(there: Hypervisor, here: Guest | None, asked: Asked) -> None:
    """``here`` is what the source has of it."""
    host = asked.destination.name
    arrived = there.find(here.uuid) if here is not None else find_guest(there, asked.name)
    if arrived is not None and arrived.active:
        raise UsageError(
            f"{asked.name} is on host {host} already",
            resolution="look at both hosts before anything is started on either. Nothing was moved",
        )
    namesake = there.find_named(here.name) if here is not None else None
    if here is not None and namesake is not None and namesake.uuid != here.uuid:
        raise UsageError(
            f"host {host} has another guest called {here.name} (UUID {namesake.uuid})",
            resolution="rename one of them while it is off ('virsh domrename'); nothing was moved",
        )


def _refuse_unfinished(name: str, here: Guest | None) -> None:
    before = find_move(here.uuid if here is not None else name)
    if before is None:
        return
    refuse_while_driven(name, before.journal_file)
    if is_open(before):
        raise UsageError(f"an earlier move of {name} was interrupted", resolution=f"'whimbrel recover {name}'; nothing was moved")
