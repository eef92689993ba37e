"""``migrate``, ``abort`` and ``recover``: a deployed service is moved, its move stopped, or an interrupted one mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.api.moving import Move, Wish, make_move
from whimbrel.api.moving import recover as bring_back
from whimbrel.api.running import tell_figures, write_report
from whimbrel.cli.deploy import Deployed
from whimbrel.cli.goals import WishedMigration, how_it_turned_out, parse_goal
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.live import Live, Metrics, MetricsFile, SpansTo, beside, observed, wanted
from whimbrel.cli.own import (
    Address,
    CheckUrls,
    From,
    Peer,
    Persistent,
    UndefineSource,
    checks_of,
    keeping,
    own_move,
    recover_own,
    tell_own,
)
from whimbrel.cli.own_ways import DeadlineOption, Ladder, Link, move_by, way_of, with_link
from whimbrel.cli.screen import own_screen
from whimbrel.cli.showing import MoveShown, say_steps
from whimbrel.cli.terminal import complain
from whimbrel.cli.typed import as_typed
from whimbrel.deployment.deployed import Deployment, find
from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.events import TRIAL_DONE, Bus
from whimbrel.live.beside import Beside, Wanted
from whimbrel.migrate.driven import ask_to_abort
from whimbrel.migrate.techniques import promises_of
from whimbrel.own.moving import Asked
from whimbrel.own.sides import sides_of
from whimbrel.predict.goals import Choice, Goal
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import TrialRecord
from whimbrel.report.content import PAGE
from whimbrel.report.quantities import spoken, written
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.system.root import need_root
from whimbrel.system.scratch import scratch_folder

_FIGURES = ("total_s", "qemu_downtime_ms", "libvirt_downtime_ms", "blackout_ms", "reachability_gap_ms", "transferred_bytes",
            "guest_clock_lag_ms", "guest_clock_after_ms")  # fmt: skip


def migrate(
    name: Deployed,
    to: Annotated[str, typer.Option(metavar="HOST", help="The host it is moved to, by its name; with --from a URI does, too.")],
    from_: From = None,
    technique: Annotated[str | None, typer.Option(help="How ('whimbrel techniques'); default: as its file says.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the move, such as max_downtime='100 ms'.")
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(help="Choose how by prediction: shortest-gap, 'finish-within 30s', least-bytes or least-load."),
    ] = None,
    max_gap: Annotated[str | None, typer.Option(metavar="DURATION", help="With --goal: the longest service gap.")] = None,
    learn: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="With --goal: results of earlier moves here; several times.")
    ] = None,
    set_clock: Annotated[
        bool, typer.Option("--set-clock", help="Set the guest's clock after the move: it stood still while no copy ran.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --goal: only say what would be done, and why.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show how the move goes, in place on a terminal.")] = False,
    live: Live = None,
    metrics: Metrics = None,
    metrics_file: MetricsFile = None,
    spans: SpansTo = None,
    out: Annotated[Path | None, typer.Option(help="Keep the record of the move in this folder, for 'show' and 'report'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    persistent: Persistent = None,
    undefine_source: UndefineSource = None,
    peer: Peer = None,
    address: Address = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="With --from: though somebody who has crashed has it.")] = False,
    check: CheckUrls = None,
    link: Link = None,
    ladder: Ladder = None,
    deadline: DeadlineOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --from: though 'preflight' says that it fails; not where two copies could run."),
    ] = False,
) -> int:
    """Moves a deployed service to another host, or any guest between two libvirts (--from), and says what the move took.

    Ctrl-C aborts the move, and the guest stays.
    """
    of_own = {
        "--persistent": persistent, "--undefine-source": undefine_source, "--peer": peer, "--address": address,
        "--take-over": take_over or None, "--force": force or None, "--check": check, "--link": link, "--ladder": ladder,
        "--deadline": deadline,
    }  # fmt: skip
    if from_ is not None:
        if set_clock:
            raise UsageError("--set-clock is for deployed services")
        way = way_of(goal, ladder, deadline, max_gap, learn or [], dry_run)
        if way.foretells and technique is not None:
            raise UsageError("--goal and --ladder choose techniques themselves: leave out --technique")
        spec = migration_with(MigrationSpec(), technique, set_ or [])
        source, destination = sides_of(from_, to, peer, address)
        kept, checks = keeping(persistent, undefine_source), checks_of(check)
        with beside(wanted(live, metrics, metrics_file, spans), f"move of {name}") as seen, _showing(seen, watch) as bus:
            asked = Asked(
                name, with_link(source, link), destination, spec, kept, take_over, force, checks, out, as_typed(), bus=bus
            )
            return tell_own(asked, move_by(asked, way), as_json, seen)
    only_of_own = [option for option, value in of_own.items() if value is not None]
    if only_of_own:
        raise UsageError(f"{', '.join(only_of_own)}: for guests that are not deployed, which takes --from")
    need_root("a move")
    deployment = find(name)
    given = migration_with(deployment.spec.migration, technique, set_ or [])
    wished = _goal(goal, max_gap, dry_run, technique, set_)
    wish = WishedMigration(deployment, to, given, wished, learn or [], only_said=dry_run, set_clock=set_clock)
    moved = _moved(deployment, to, wish, out, watch, wanted(live, metrics, metrics_file, spans))
    if moved is None:
        return 0
    _tell(deployment, moved, wish.choice, as_json)
    if isinstance(moved.error, UnsafeStateError):
        complain(f"'whimbrel recover {name}' looks at both hosts and brings it back where that is safe")
    if moved.error is not None:
        raise moved.error
    return 0


@contextmanager
def _showing(seen: Beside | None, watch: bool) -> Iterator[Bus]:
    """A bus that is seen there, and on the terminal."""
    with observed(seen) as bus, own_screen() as screen:
        bus.subscribe("terminal", say_steps, samples=False)
        if watch:
            bus.subscribe("terminal ('--watch')", MoveShown(screen).observe)
        yield bus


def _moved(deployment: Deployment, to: str, wish: Wish, out: Path | None, watch: bool, asked: Wanted) -> Move | None:
    """Makes the move, which is seen where that is asked for; a page that follows it ends in its report."""
    with scratch_folder() as folder, beside(asked, f"move of {deployment.name}") as seen:
        kept = folder / "move" if out is None and asked.live is not None else out
        with _showing(seen, watch) as bus:
            moved = make_move(deployment, to, wish, as_typed(), kept, bus, partial(Interrupts, then="aborting the move"))
            if moved is not None:
                tell_figures(bus, moved.figures)
                bus.tell(TRIAL_DONE, order=1, arm=deployment.name, **moved.record.outcome.told)
        if seen is not None and asked.live is not None and moved is not None and kept is not None:
            write_report(CampaignFolder.open(kept), figures=False)
            seen.report = kept.absolute() / PAGE
        return moved


def _goal(goal: str | None, max_gap: str | None, dry_run: bool, technique: str | None, sets: list[str] | None) -> Goal | None:
    """The goal that was given; UsageError when it does not go with the rest."""
    if goal is not None:
        if technique is not None or sets:
            raise UsageError("a goal chooses technique and options itself: give --goal, or --technique and --set")
        return parse_goal(goal, max_gap)
    if max_gap is not None or dry_run:
        raise UsageError("--max-gap and --dry-run go with --goal")
    return None


def abort(name: Deployed) -> int:
    """Stops a move that is under way, and waits for its end. Exit code 1 when it was too late: then it has moved."""
    own = own_move(name)
    if own is None:
        need_root("aborting a move")
    moved = own or find(name)
    ended = ask_to_abort(name, moved.journal_file, moved.abort_file)
    if ended == "unsafe":
        raise UnsafeStateError(f"it is unclear where {name} runs", resolution=f"'whimbrel recover {name}'")
    if ended == "moved":
        complain("too late to abort: the move had passed its point of no return, and ended well")
        return 1
    print(f"the move of {name} was stopped ({ended}); it runs where it ran before")
    return 0


def recover(
    name: Deployed,
    boot_anew: Annotated[
        bool, typer.Option("--boot-anew", help="When no copy can go on: start it from its disk, without what was in memory.")
    ] = False,
) -> None:
    """Brings a service whose move was interrupted to one running copy, or says why it cannot."""
    own = own_move(name)
    if own is not None:
        recover_own(own, boot_anew)
        return
    where = bring_back(
        name,
        boot_anew=boot_anew,
        told=lambda decision: complain(f"{decision.step}: {decision.why}"),
        mended=lambda host: complain(f"host {host} had died and was started again"),
        guard=partial(Interrupts, then="stopping; recover it again later"),
    )
    print(f"{name} runs on host {where}, and nowhere else")


def _tell(deployment: Deployment, moved: Move, choice: Choice | None, as_json: bool) -> None:
    """The figures of a move; of one that failed, what is known."""
    record, figures = moved.record, moved.figures
    values = {key: getattr(figures, key) for key in _FIGURES}
    if figures.guest_clock_set_ms is not None:
        values["guest_clock_set_ms"] = figures.guest_clock_set_ms
    bounds = {key: figures.at_least(key) for key in values}
    if as_json:
        content = {
            "name": deployment.name, "result": record.outcome.result, "runs_on": record.outcome.runs_on,
            "technique": record.spec.migration.technique, **values,
            "at_least": {key: bound for key, bound in bounds.items() if bound is not None},
            "phases": {phase.name: phase.length_s for phase in figures.phases},
            "kept": _kept_state(record), "rounds": [found.model_dump(mode="json") for found in figures.rounds],
            "error": record.outcome.error, "known_failure": record.outcome.known_failure,
            "goal": {"why": choice.why, "expected": asdict(choice.candidate.expected) | {"stalls": None}}
            if choice and choice.candidate else None,
        }  # fmt: skip
        print(json.dumps(content, indent=1))
        return
    if not record.outcome.succeeded:
        return
    print(f"{deployment.name} runs on host {' and '.join(record.outcome.runs_on)}")
    for key, value in values.items():
        print(f"{spoken(key):20s}{written(key, value, bounds[key])}")
    for phase in figures.phases:
        print(f"phase {phase.name:14s}{written('length_s', phase.length_s)}")
    kept = _kept_state(record)
    if kept is not None:
        print(f"{'kept':20s}{', '.join(kept)}")
    if choice is not None and choice.candidate is not None:
        print("\n".join(how_it_turned_out(choice.candidate, figures)))


def _kept_state(record: TrialRecord) -> list[str] | None:
    """What the technique promised, and the witness found kept; None where there was none, or not all of it was."""
    if record.witness is None or not record.outcome.succeeded:
        return None
    return sorted(promises_of(record.spec.migration))
