"""Moves what is deployed: finds it, asks for the move, and keeps its record."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from whimbrel.deployment.deployed import Deployment
from whimbrel.deployment.standing import places_of, refuse_destination, subject_of, where_it_runs
from whimbrel.errors import EngineError, InstrumentError, UsageError, WhimbrelError
from whimbrel.events import Bus
from whimbrel.guests.carrier import CellCarrier
from whimbrel.guests.in_cells import parts_of
from whimbrel.hosts.host import Place
from whimbrel.hosts.one_host import refuse_hosts_that_are_one
from whimbrel.hosts.site import Site
from whimbrel.moves.driving import drive_with_journal
from whimbrel.moves.fresh import make_carrier
from whimbrel.moves.instrumented import InstrumentedMove
from whimbrel.moves.measured import Asked
from whimbrel.moves.notes import Invocation
from whimbrel.moves.possible import need_container_techniques
from whimbrel.moves.subject import Subject
from whimbrel.moves.working_folder import working_folder
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec

_WATCH_AFTER_S = 3.0
_HEARING_S = 10.0
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Moved:
    """A move's record, and what made it fail."""

    stored: StoredTrial
    error: WhimbrelError | None


def move(
    deployment: Deployment, site: Site, to: HostName, migration: MigrationSpec, out: Path, invocation: Invocation, bus: Bus
) -> Moved:
    """Moves it to a host; writes a campaign of this one move into ``out``, and publishes on ``bus`` how it goes."""
    with ExitStack() as holding:
        places = dict(places_of(deployment, site, holding))
        with suppress(EngineError):
            # One that does not answer is met again, by whoever asks where it runs.
            refuse_hosts_that_are_one(site.hosts.values())
        source = where_it_runs(deployment, site, places)
        refuse_destination(deployment, site, source, to)
        places[to] = _with_a_cell(deployment, site, places[to])
        _refuse_what_cannot_be_done(deployment, site, migration)
        subject = subject_of(deployment, site, migration, (source, to), places)
        if any(carrier.ended for carrier in subject.request.carriers or ()):
            raise UsageError(f"a carrier of {deployment.name} is gone", resolution=f"'whimbrel undeploy {deployment.name}'")
        setting = subject.setting
        folder = CampaignFolder.create(out, setting.spec, invocation.command, [setting.plan])
        made_in = holding.enter_context(working_folder(site.ledger, setting.plan.order))
        drive = drive_with_journal(
            deployment.name, deployment.journal_file, deployment.abort_file,
            interrupted=lambda where: bus.step(f"interrupted: {deployment.name} runs on host {where}"),
        )  # fmt: skip
        asked = Asked(bus, cure=partial(_cure, deployment.name), name=deployment.name, drive=drive)
        # Of one name on both hosts it is the source on which it runs.
        runs_on = {vm.name: host.name for vm, host in zip((subject.vms or ())[::-1], setting.hosts[::-1], strict=False)}
        measured = InstrumentedMove(setting, runs_on.keys(), made_in, asked, runs_on)
        error = measured.attempt(partial(_course, measured, subject, bus))
        return Moved(folder.commit(made_in, measured.record(deployment, invocation)), error)


def _with_a_cell(deployment: Deployment, site: Site, place: Place) -> Place:
    """The place, with a cell that waits for the container where the host has none yet (a container on the servers themselves)."""
    if isinstance(place, CellCarrier) and place.cell.gone and not place.host.gone:
        return make_carrier(site, place.host, parts_of(site, deployment.service, deployment.spec.stream))
    return place


def _refuse_what_cannot_be_done(deployment: Deployment, site: Site, migration: MigrationSpec) -> None:
    """CapabilityError when this machine cannot move a container between its servers so; the file's own way was tried before."""
    if deployment.form == "container" and migration.technique != deployment.spec.migration.technique:
        need_container_techniques({deployment.name: migration.technique}, site.files.store)


def _course(measured: InstrumentedMove, subject: Subject, bus: Bus, watching: ExitStack) -> None:
    """One move, watched from the call to a little after it."""
    measured.begin(subject)
    if bus.wants_samples:
        # Whoever looks on wants to see what the hosts do; the record of such a move has it as well.
        measured.watch_with(measured.instruments.sampler(), watching)
    measured.probe(watching)
    if measured.setting.spec.observe.witness:
        try:
            measured.hear_witness(watching, _HEARING_S)
        except InstrumentError:
            # That is no reason not to move.
            bus.step("the witness does not answer: what arrives will not be compared with what left")
    measured.make(watching, _WATCH_AFTER_S)
    measured.judge()


def _cure(name: str, gone: bool) -> str:
    if not gone:
        return f"'whimbrel recover {name}' looks at both hosts"
    return (
        f"its console and the logs say why; 'whimbrel recover {name} --boot-anew' starts it from its disk,"
        " without what was in its memory"
    )
