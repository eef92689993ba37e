"""What is deployed is moved, measured, profiled, and brought back; what a move of it would cost is predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.api.holding import Guard, held, unguarded
from whimbrel.api.running import telling
from whimbrel.api.scenario import nobody
from whimbrel.deployment.deployed import Deployment, find
from whimbrel.deployment.moving import move
from whimbrel.deployment.profiling import profile as profile_it
from whimbrel.deployment.recovering import bring_back
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.events import Bus, Told
from whimbrel.hosts.site import Site
from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.migrate.journal import DamagedJournalError
from whimbrel.migrate.recovery import Decision
from whimbrel.moves.notes import Invocation
from whimbrel.observe.dirty_profile import USUAL_SAMPLE, Profiled
from whimbrel.predict.expectation import Expectation
from whimbrel.predict.move import expectation_of, why_not
from whimbrel.records.store import forget_unmade
from whimbrel.records.trial import TrialRecord
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.system.provenance import commit
from whimbrel.system.root import need_root
from whimbrel.system.scratch import scratch_folder
from whimbrel.trial.foresight import overheads_from

# The way to move that is wanted, chosen once the site is held; None: it is not to be moved.
Wish = Callable[[Site], MigrationSpec | None]


@dataclass(frozen=True)
class Move:
    """A move that was made: its raw record, what is derived from it, and what made it fail, where it did.

    ``folder`` is where the record lies, with its series; None when nobody asked for it to be kept.
    """

    record: TrialRecord
    figures: TrialFigures
    error: WhimbrelError | None
    folder: Path | None

    @property
    def source(self) -> HostName:
        """The host that it left."""
        return self.record.plan.source

    @property
    def destination(self) -> HostName:
        """The host that it was to go to."""
        return self.record.plan.destination

    @property
    def runs_on(self) -> Sequence[HostName]:
        """The hosts on which it runs afterwards."""
        return self.record.outcome.runs_on

    def _repr_html_(self) -> str:
        from whimbrel.report.notebook import move_html

        return move_html(self.record, self.figures)


def migrate(
    name: str, to: HostName, technique: str | None, options: Mapping[str, object], out: Path | None, told: Told = nobody
) -> Move:
    """Moves a deployed service; what made it fail is raised (``Service.migrate``)."""
    deployment = find(name)
    migration = migration_with(deployment.spec.migration, technique, _sets(options))
    command = f"whimbrel.find({name!r}).migrate({to!r})"
    with telling(told) as bus:
        made = make_move(deployment, to, lambda site: migration, command, out, bus)
    assert made is not None
    if made.error is not None:
        raise made.error
    return made


def make_move(
    deployment: Deployment, to: HostName, wish: Wish, command: str, out: Path | None, bus: Bus, guard: Guard = unguarded
) -> Move | None:
    """A move whose failure is in what is returned; ``command`` is how it was asked for. None when it was not to be moved."""
    need_root("a move")
    refuse_while_driven(deployment.name, deployment.journal_file)
    invocation = Invocation(command=command, commit=commit())
    with held(deployment, guard) as site, _kept(out) as folder:
        migration = wish(site)
        if migration is None:
            return None
        moved = move(deployment, site, to, migration, folder, invocation, bus)
        return Move(moved.stored.record, figures_of(moved.stored), moved.error, out)


@contextmanager
def _kept(out: Path | None) -> Iterator[Path]:
    """The folder into which the record is written; it is kept when that was asked for."""
    if out is not None:
        ours = not out.exists()
        try:
            yield out.absolute()
        finally:
            if ours:
                forget_unmade(out)
        return
    with scratch_folder() as folder:
        yield folder


def recover(
    name: str,
    *,
    boot_anew: bool = False,
    told: Callable[[Decision], None] = lambda _: None,
    mended: Told = nobody,
    guard: Guard = unguarded,
) -> HostName:
    """Brings a service whose move was interrupted to one running copy; the host on which that is.

    ``boot_anew``: when no copy can go on it is started from its disk, without what was in memory. UnsafeStateError when there can
    be no running copy. ``told`` hears what is decided, ``mended`` the name of each host that had died and was started again.
    """
    need_root("recovering a move")
    deployment = find(name)
    # One that cannot be read is seen to further in.
    with suppress(DamagedJournalError):
        refuse_while_driven(deployment.name, deployment.journal_file)
    with held(deployment, guard) as site:
        for died in site.mend():
            mended(died)
        return bring_back(deployment, site, boot_anew, told)


def profile(
    name: str,
    *,
    seconds: float = 60.0,
    sample: int = USUAL_SAMPLE,
    to: HostName | None = None,
    told: Callable[[float], None] = lambda over_s: None,
    guard: Guard = unguarded,
) -> Profiled:
    """How a deployed VM dirties its memory in windows of up to so many seconds, and what the link to a host gives.

    The guest goes on meanwhile. ``told`` hears how many seconds are over.
    """
    need_root("profiling a guest")
    deployment = find(name)
    with held(deployment, guard) as site:
        return profile_it(deployment, site, to, seconds, sample, told)


def predict(
    name: str, to: HostName, technique: str | None, options: Mapping[str, object], seconds: float, learn_from: Sequence[Path]
) -> Expectation:
    """What a move of a deployed VM would take (``Service.predict``)."""
    deployment = find(name)
    migration = migration_with(deployment.spec.migration, technique, _sets(options))
    reason = why_not(migration)
    if reason is not None:
        raise UsageError(reason)
    overheads = overheads_from(learn_from)
    found = profile(name, seconds=seconds, to=to)
    return expectation_of(found.profile, found.link_bytes_per_s, deployment.spec, migration, overheads)


def _sets(options: Mapping[str, object]) -> list[str]:
    """The options as the command line has them."""
    return [f"{key}={value}" for key, value in options.items()]
