"""Moves what is deployed: finds it, asks for the move, measures it, and keeps its journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from whimbrel.analysis.phases import phase_reached
from whimbrel.deployment.bringing_up import AnySite, vms_of
from whimbrel.deployment.deployed import Deployment, plan_of
from whimbrel.deployment.standing import places_of, refuse_destination, request_for, where_it_runs
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import (
    EngineError,
    GuestEndedError,
    GuestError,
    InstrumentError,
    TrialError,
    UnsafeStateError,
    UsageError,
    WhimbrelError,
)
from whimbrel.events import Bus
from whimbrel.guests import guest as the_guest
from whimbrel.guests.ends import EndWatch
from whimbrel.guests.last_words import End, LastWords
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.one_host import refuse_hosts_that_are_one
from whimbrel.migrate.carry_out import carry_out, is_gone, running_on
from whimbrel.migrate.journal import WrittenJournal, note_end, note_left, read_history
from whimbrel.migrate.storage import MAKING_DISK, keep_only_copy
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.techniques import promises_of, technique_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.guest_clock import clock_after, clock_before
from whimbrel.moves.instruments import Instruments, watch
from whimbrel.moves.notes import Notes, Origin, now
from whimbrel.moves.place import workplace
from whimbrel.moves.subject import clocks_of
from whimbrel.moves.testimony import judge, listen, testimony
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import attend, attending, pause, undisturbed
from whimbrel.system.instrument import Instrument

_WATCH_AFTER_S = 3.0
_HEARING_S = 10.0
_LOOK_EVERY_S = 0.25
_LINES_SAID = 5


@dataclass(frozen=True)
class Moved:
    """A move's record, and what made it fail."""

    stored: StoredTrial
    error: WhimbrelError | None


def move(
    deployment: Deployment, site: AnySite, to: HostName, migration: MigrationSpec, out: Path, origin: Origin, bus: Bus
) -> Moved:
    """Moves it to a host; writes a campaign of this one move into ``out``, and publishes on ``bus`` how it goes."""
    with ExitStack() as holding:
        places = places_of(deployment, site, holding)
        with suppress(EngineError):
            # One that does not answer is met again, by whoever asks where it runs.
            refuse_hosts_that_are_one(site.hosts.values())
        source = where_it_runs(deployment, site, places)
        refuse_destination(deployment, site, source, to)
        spec = deployment.with_migration(migration)
        plan = plan_of(spec, source, to)
        request = request_for(deployment, site, migration, (source, to), places)
        if any(carrier.ended for carrier in request.carriers or ()):
            raise UsageError(f"a carrier of {deployment.name} is gone", resolution=f"'whimbrel undeploy {deployment.name}'")
        folder = CampaignFolder.create(out, spec, origin.command, [plan])
        place = holding.enter_context(workplace(site.ledger, plan.order))
        attempt = _Attempt(deployment, site, spec, plan, request, place, bus)
        error = attempt.make()
        record = attempt.notes.record(spec, plan, deployment, site, origin, read_pair())
        return Moved(folder.commit(place, record), error)


class _Attempt:
    """One move, watched from the call to a little after it."""

    def __init__(
        self,
        deployment: Deployment,
        site: AnySite,
        spec: CampaignSpec,
        plan: Plan,
        request: MoveRequest,
        workplace: Path,
        bus: Bus,
    ) -> None:
        self._deployment = deployment
        self._spec = spec
        self._request = request
        self._workplace = workplace
        self._bus = bus
        self.notes = Notes(now(), read_pair())
        vms = vms_of(deployment, site)
        # On source and on destination.
        self._vms = (vms[request.source.name], vms[request.destination.name])
        # Why the move failed, where it did.
        self._why: WhimbrelError | None = None
        hosts = [request.source, request.destination]
        runs_on = {vm.name: host.name for vm, host in zip(self._vms[::-1], hosts[::-1], strict=True)}
        self._ends = EndWatch(runs_on.keys(), hosts, runs_on)
        self._last_words = LastWords(hosts)
        self._doing = ""
        self._instruments = Instruments(site, spec, plan, hosts, workplace, bus)

    def make(self) -> WhimbrelError | None:
        """Makes the move; what made it fail, or None. What it was is in ``notes`` either way."""
        notes, request = self.notes, self._request
        with request.source.hypervisor() as connection:
            notes.host_versions = connection.versions()
        error: WhimbrelError | None = None
        with self._ends:
            try:
                with attending(self._ends.check):
                    self._read_clocks_before()
                    error = self._measure()
            except (InstrumentError, GuestEndedError) as failed:
                end = self._ends.heard()
                error = self._not_measured(failed) if end is None else self._lost(end, failed)
                notes.failure = str(error)
        for host in (request.source, request.destination):
            notes.unmeasured |= host.unmeasured
        return error

    def _read_clocks_before(self) -> None:
        """A guest whose own clock cannot be read is moved all the same."""
        source = self._request.source
        self._doing = "getting ready"
        self._read_clock(source)
        with self._noting_clock(), ExitStack() as holding:
            self.notes.guest_clock = clock_before(self._inside_on(source, holding))

    def _measure(self) -> WhimbrelError | None:
        notes, request = self.notes, self._request
        with ExitStack() as instruments:
            running: list[Instrument] = []
            if self._spec.observe.probe_every_s is not None:
                running.append(instruments.enter_context(self._instruments.probe(self._spec.observe.probe_every_s)))
            if self._bus.wants_samples:
                # Whoever looks on wants to see what the hosts do; the record of such a move has it as well.
                running.append(instruments.enter_context(self._instruments.sampler()))
            witness = self._hear_witness(instruments)
            if witness is not None:
                running.append(witness)
            events = instruments.enter_context(MigrationEvents(self._vms, request.source, request.destination, self._bus))
            try:
                with undisturbed():
                    error = self._carry_out(events)
                # What ended the guest in its move did so before what comes next.
                attend()
                self._say("watching after the move")
                watch(_WATCH_AFTER_S, running)
            finally:
                notes.keep(events, self._workplace)
            if error is None:
                self._read_clock(request.destination)
                error = self._see_to_clock()
            for instrument in running:
                instrument.tell_to_end()
            if witness is not None and error is None:
                error = self._check_witness(witness)
        return error

    def _lost(self, end: End, failed: TrialError) -> WhimbrelError:
        """What is said of a guest that has ended by itself, before its move, in it, or after it."""
        notes, name = self.notes, self._deployment.name
        notes.end = self._last_words.of(end, self._doing)
        gone = is_gone(self._request)
        notes.runs_on = [] if gone else list(running_on(self._request.guest, self._request.places))
        if self._why is not None:
            return self._why
        details = "\n".join(notes.end.console[-_LINES_SAID:] or ([] if isinstance(failed, GuestEndedError) else [str(failed)]))
        resolution = (
            f"its console and the logs say why; 'whimbrel recover {name} --boot-anew' starts it from its disk,"
            " without what was in its memory" if gone else f"'whimbrel recover {name}' looks at both hosts"
        )  # fmt: skip
        if notes.result == "not made" or notes.runs_on:
            return GuestEndedError(f"{end}, while: {self._doing}", details=details, resolution=resolution)
        notes.result = "unsafe"
        left = "no copy is left" if gone else "what is left is unknown"
        return UnsafeStateError(f"{name} had moved, but then {end}; {left}", details=details, resolution=resolution)

    def _not_measured(self, failed: TrialError) -> WhimbrelError:
        """What is said where an instrument failed. A move that failed as well comes first: its end is known, and matters more."""
        notes = self.notes
        if self._why is not None:
            self._why.details = f"{self._why.details}\nIt was not measured to its end: {failed}".strip()
            return self._why
        if notes.result == "not made":
            return failed
        return InstrumentError(
            f"{self._deployment.name} {notes.result} and runs on {' and '.join(notes.runs_on)}, but that was not measured",
            details=str(failed),
        )

    def _hear_witness(self, instruments: ExitStack) -> Instrument | None:
        """The witness that was deployed beside the service. One that does not answer is no reason not to move."""
        if not self._spec.observe.witness:
            return None
        try:
            return listen(self._instruments, instruments, _HEARING_S)
        except InstrumentError:
            self._bus.step("the witness does not answer: what arrives will not be compared with what left")
            return None

    def _check_witness(self, witness: Instrument) -> WhimbrelError | None:
        """Whether what the technique promises was kept."""
        try:
            self.notes.witness = testimony(witness)
            judge(promises_of(self._request.spec), self.notes.witness)
        except TrialError as error:
            self.notes.failure = str(error)
            return error
        return None

    def _carry_out(self, events: MigrationEvents) -> WhimbrelError | None:
        deployment, request, notes = self._deployment, self._request, self.notes
        deployment.abort_file.unlink(missing_ok=True)
        journal = WrittenJournal(deployment.journal_file, events)
        journal.begin(request.source.name, request.destination.name, request.spec)
        self._say(f"moving to host {request.destination.name}")
        try:
            # A cold move ends the guest itself; any other has to know at once when it has ended.
            with self._ends.expected() if request.spec.technique == "cold" else nullcontext():
                ending = carry_out(
                    technique_of(request.spec), replace(request, ended=self._ends.told), journal,
                    lambda: phase_reached(self._ends.before(events.events), request.source.name, request.destination.name),
                )  # fmt: skip
        except KeyboardInterrupt:
            # The technique has aborted the move before it let us go.
            where = exactly_one(request.guest, request.places)
            history = read_history(deployment.journal_file)
            keep_only_copy(request, where, made=history is not None and history.has(MAKING_DISK))
            note_end(deployment.journal_file, "moved" if where == request.destination.name else "aborted")
            self._bus.step(f"interrupted: {deployment.name} runs on host {where}")
            raise
        self._why = ending.error
        notes.keep_ending(ending)
        try:
            if ending.result == "unsafe":
                # It stays one that is to be recovered, and not by us.
                note_left(deployment.journal_file)
            else:
                note_end(deployment.journal_file, ending.result)
        except OSError as full:
            self._why = self._not_written(full)
        notes.failure = None if self._why is None else str(self._why)
        return self._why

    def _not_written(self, full: OSError) -> WhimbrelError:
        """What is said where the end of the move could not be written into its journal: that end, and why."""
        name, notes = self._deployment.name, self.notes
        resolution = f"make room, then 'whimbrel recover {name}'"
        why = f"its journal could not be written: {full}"
        if self._why is None:
            where = " and ".join(notes.runs_on)
            return TrialError(f"{name} {notes.result} and runs on {where}", details=why, resolution=resolution)
        self._why.details = f"{self._why.details}\n{why}; {resolution}".strip()
        return self._why

    def _say(self, step: str) -> None:
        self._doing = step
        self._bus.step(step)

    def _read_clock(self, host: Host) -> None:
        self.notes.clocks |= clocks_of(host, self._vm_on(host), is_carrier=self._deployment.moves_container)

    @contextmanager
    def _noting_clock(self) -> Iterator[None]:
        try:
            yield
        except GuestEndedError:
            raise
        except (GuestError, EngineError) as why:
            self.notes.unmeasured["the guest's clock"] = str(why)

    def _see_to_clock(self) -> WhimbrelError | None:
        """How the guest's clock stands after the move, set where that was asked for; what is said where it was not."""
        notes, spec = self.notes, self._request.spec
        with self._noting_clock(), ExitStack() as holding:
            notes.guest_clock = clock_after(self._inside_on(self._request.destination, holding), notes.guest_clock, spec)
        if spec.after != "set-clock" or (notes.guest_clock is not None and notes.guest_clock.after_setting is not None):
            return None
        error = GuestError(
            f"{self._deployment.name} moved and runs on {' and '.join(notes.runs_on)}, but its clock was not set",
            details=notes.unmeasured.get("the guest's clock", ""),
        )
        notes.failure = str(error)
        return error

    def _inside_on(self, host: Host, holding: ExitStack) -> GuestAgent:
        return the_guest.agent_on(host, self._vm_on(host), holding)

    def _vm_on(self, host: Host) -> GuestIdentity:
        return self._vms[0 if host is self._request.source else 1]


def ask_to_abort(deployment: Deployment) -> str:
    """Asks whoever moves it to abort, and waits for the end of the move; how it ended.

    UsageError when nothing moves it.
    """
    history = read_history(deployment.journal_file)
    if history is None or history.ended is not None:
        raise UsageError(f"{deployment.name} is not being moved")
    if not history.driven:
        raise UsageError(
            f"nobody drives the move of {deployment.name} any more (last step: {history.last})",
            resolution=f"'whimbrel recover {deployment.name}'",
        )
    deployment.abort_file.touch()
    # Past its point of no return a move takes as long as it gets on; whoever drives it knows when it does not.
    while history.driven:
        pause(_LOOK_EVERY_S)
        history = read_history(deployment.journal_file) or history
    return history.ended or "unsafe"
