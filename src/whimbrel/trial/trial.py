"""One trial; reads like the method section of a paper: the steps of ``_observe`` are the steps of the experiment."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from whimbrel.analysis.phases import phase_reached
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import GuestEndedError, GuestError, TrialError, UnsafeStateError, WhimbrelError, interrupted
from whimbrel.events import PREDICTED, Bus
from whimbrel.guests import guest as the_guest
from whimbrel.guests.ends import EndWatch
from whimbrel.guests.forms import FORMS, read_reach_log, start_again
from whimbrel.guests.last_words import End, LastWords
from whimbrel.hosts.inside import Inside
from whimbrel.hosts.site import Site
from whimbrel.migrate.carry_out import carry_out, evidence, running_on
from whimbrel.migrate.techniques import EVERYTHING, promises_of, technique_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.guest_clock import clock_after, clock_before
from whimbrel.moves.instruments import Instruments, play, said_by, watch
from whimbrel.moves.notes import Notes, Origin, count_reach, now
from whimbrel.moves.subject import Setting, Start, names_of, subject_of
from whimbrel.moves.testimony import judge, listen, testimony
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import InstrumentCost, Plan, RestRecord, StayRecord, TrialRecord
from whimbrel.services.client import Client, counted, watched_by
from whimbrel.services.registry import service_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import attending, undisturbed
from whimbrel.system.instrument import Instrument
from whimbrel.trial.foresight import Foretell
from whimbrel.units import format_duration

log = logging.getLogger(__name__)


class Trial:
    """One repetition of one arm at one site, from one saved state; writes its series into ``workplace``, publishes on ``bus``.

    With ``keep_on_failure`` the guest of a failed trial is left as it is, and one that panics as it is then.
    With ``foretell`` its move is predicted beforehand.
    """

    def __init__(
        self,
        site: Site,
        spec: CampaignSpec,
        plan: Plan,
        state: Start,
        workplace: Path,
        origin: Origin,
        bus: Bus,
        keep_on_failure: bool = False,
        foretell: Foretell | None = None,
    ) -> None:
        self._site = site
        self._spec = spec
        self._plan = plan
        self._state = state
        self._workplace = workplace
        self._origin = origin
        self._bus = bus
        self._keep_on_failure = keep_on_failure
        self._foretell = foretell
        self._service = service_of(spec, plan.arm)
        self._source = site.hosts[plan.source]
        self._destination = site.hosts[plan.destination]
        self._hosts = [self._source, self._destination]
        self._instruments = Instruments(site, spec, plan, self._hosts, workplace, bus)
        self._subject = subject_of(Setting(site, spec, plan, self._source, self._destination, keep_on_failure), state)
        self._ends = EndWatch(names_of(self._subject), self._hosts)
        self._last_words = LastWords(self._hosts)
        self._doing = ""
        # Where the guest is to be in the end.
        self._end = self._destination if plan.moves else self._source
        self._notes = Notes(now(), read_pair())

    def run(self) -> TrialRecord:
        """Makes the trial. What failed, the move or its measurement, is in the record; only what stops us is raised."""
        notes = self._notes
        the_guest.refuse_another(self._site)
        try:
            self._watched()
        except BaseException:
            self._subject.discard()
            raise
        if notes.failure is None or not self._keep_on_failure:
            self._subject.discard()
            if self._state.folder is not None:
                the_guest.keep_memory_for(self._site, self._state.folder)
        for log_file in self._workplace.glob("*.log"):
            if log_file.stat().st_size == 0:
                log_file.unlink()
        notes.unmeasured = {what: why for host in self._hosts for what, why in host.unmeasured.items()}
        return notes.record(self._spec, self._plan, self._state, self._site, self._origin, read_pair())

    def _watched(self) -> None:
        """Observes, and writes down what failed; only what stops us is raised."""
        with ExitStack() as watching:
            try:
                watching.enter_context(self._ends)
                with attending(self._ends.check):
                    self._observe()
            except (WhimbrelError, OSError) as error:
                if interrupted(error):
                    raise KeyboardInterrupt from error
                log.debug("the trial failed", exc_info=True)
                self._notes.failure = self._failed(error)
                self._keep_logs()

    def _say(self, step: str) -> None:
        self._doing = step
        self._bus.step(step)

    def _observe(self) -> None:
        notes = self._notes
        observe = self._spec.observe
        self._say("restoring the saved state" if self._state.folder is not None else "starting the container")
        with ExitStack() as holding, ExitStack() as instruments:
            notes.host_versions = holding.enter_context(self._source.hypervisor()).versions()
            inside, notes.restored_in_s = self._subject.bring_up(holding)
            self._instruments.load(instruments)
            notes.identity_before = self._subject.identity(inside)
            notes.clocks |= self._subject.clocks(self._source)
            notes.guest_clock = clock_before(inside)
            self._make_memory_change(inside)
            sampler = instruments.enter_context(self._instruments.sampler())
            self._instruments.wait_until_loaded()
            self._say("at rest")
            self._look_at_rest(inside, [sampler])
            reaching = self._start_reach_check(inside)
            running = [sampler]
            if observe.probe_every_s is not None:
                running.append(instruments.enter_context(self._instruments.probe(observe.probe_every_s)))
            witness = self._start_witness(inside, instruments, running)
            players = self._start_viewers(instruments)
            running += [player for _, player in players]
            self._say("watching before the move")
            self._watch(observe.before_s, running)
            lines_before = len(read_reach_log(inside)) if reaching else 0
            events = instruments.enter_context(MigrationEvents(self._subject.vms, self._source, self._destination, self._bus))
            self._say("moving" if self._plan.moves else "watching a guest that stays")
            try:
                if self._plan.moves:
                    self._move(events)
                else:
                    self._stay(running)
                lines_during = self._reach_lines() if reaching else []
                self._say("watching after the move")
                self._watch(observe.after_s, running)
                lines_after = self._reach_lines() if reaching else []
                notes.clocks |= self._subject.clocks(self._end)
                self._see_to_clock()
            finally:
                notes.keep(events, self._workplace, said_by(players))
            self._check_film([player for _, player in players])
            if reaching:
                notes.reach = count_reach(lines_after, lines_before, len(lines_during))
            self._check_arrival()
            for instrument in running:
                instrument.tell_to_end()
            if witness is not None:
                self._check_witness(witness)
        self._keep_costs(running, events)
        heard_of = {client.instrument for client, _ in players}
        notes.events = [event for event in notes.events if event.source not in heard_of] + said_by(players)

    def _keep_costs(self, running: list[Instrument], events: MigrationEvents) -> None:
        costs = [(instrument.name, instrument.cost) for instrument in running] + [("migration events", events.cost)]
        self._notes.costs = [InstrumentCost(name=name, **cost) for name, cost in costs]

    def _make_memory_change(self, inside: Inside) -> None:
        if self._spec.guest.dirtier is not None:
            self._say("making memory change")
            the_guest.start_dirtier(inside, self._spec.guest.dirtier)

    def _look_at_rest(self, inside: Inside, running: list[Instrument]) -> None:
        used_bytes, cached_bytes = self._subject.memory_at_rest(inside)
        saved = self._state.folder
        from_ns = read_pair().monotonic_ns
        with ExitStack() as meanwhile:
            link = self._instruments.try_link(meanwhile)
            self._watch(self._spec.observe.at_rest_s, running)
            link_bytes_per_s = link()
        self._notes.rest = RestRecord(
            guest_memory_used_bytes=used_bytes,
            guest_cached_bytes=cached_bytes,
            disk_used_bytes=self._state.disk_used_bytes,
            state_memory_bytes=(saved / "memory.save").stat().st_size if saved is not None else None,
            link_bytes_per_s=link_bytes_per_s,
            from_ns=from_ns,
            to_ns=read_pair().monotonic_ns,
        )
        if self._foretell is not None:
            self._notes.prediction = self._foretell(link_bytes_per_s)
            if self._notes.prediction is not None:
                self._bus.tell(PREDICTED, **self._notes.prediction.model_dump())

    def _start_reach_check(self, inside: Inside) -> bool:
        """Whether services of the VM and of the container now ask each other."""
        every_s = self._spec.observe.reach_every_s
        if every_s is None or self._spec.migration.moves == "container":
            return False
        return FORMS[self._plan.form].start_reach_check(inside, self._service, every_s)

    def _start_witness(self, inside: Inside, instruments: ExitStack, running: list[Instrument]) -> Instrument | None:
        if not self._spec.observe.witness:
            return None
        # A container that moves has one in it from the beginning.
        if self._spec.migration.moves == "vm":
            the_guest.start_witness(inside)
        witness = listen(self._instruments, instruments)
        running.append(witness)
        return witness

    def _check_witness(self, witness: Instrument) -> None:
        """What left is what arrived, as far as the technique promises it."""
        self._notes.witness = testimony(witness)
        judge(promises_of(self._spec.migration) if self._plan.moves else EVERYTHING, self._notes.witness)

    def _start_viewers(self, instruments: ExitStack) -> list[tuple[Client, Instrument]]:
        """A player for each kind of viewers that the plan has, once all of them play."""
        players = []
        for client, number in watched_by(self._plan):
            self._say(f"waiting for {counted(client, number)} to play")
            players.append((client, play(self._instruments.client(client), number, instruments)))
        return players

    def _watch(self, seconds: float, running: list[Instrument]) -> None:
        watch(seconds, running, self._hosts)

    def _stay(self, running: list[Instrument]) -> None:
        """The control: nothing moves, and the instruments see what they see by themselves."""
        from_ns = read_pair().monotonic_ns
        self._watch(self._spec.observe.stay_s, running)
        self._notes.stay = StayRecord(from_ns=from_ns, to_ns=read_pair().monotonic_ns)
        self._notes.runs_on = [exactly_one(self._subject.what, self._subject.places)]
        self._notes.result = "stayed"

    def _move(self, events: MigrationEvents) -> None:
        request = self._subject.request(self._start_service_again)
        # A cold move ends the guest itself; any other has to know at once when it has ended.
        cold = self._spec.migration.technique == "cold"
        with undisturbed(), self._ends.expected() if cold else nullcontext():
            ending = carry_out(
                technique_of(self._spec.migration),
                replace(request, ended=self._ends.told),
                events,
                lambda: phase_reached(self._ends.before(events.events), self._source.name, self._destination.name),
            )
        self._notes.keep_ending(ending)
        if ending.error is not None:
            raise ending.error

    def _start_service_again(self, agent: GuestAgent) -> None:
        spec = self._spec
        start_again(agent, self._plan.form, self._service, spec.guest.dirtier, spec.observe.witness)

    def _failed(self, error: WhimbrelError | OSError) -> str:
        """What is said of a failure. A guest that had moved may be its reason: it has died since, or its host has."""
        end = self._ends.heard()
        if end is not None:
            return self._ended(end, error)
        if self._notes.result != "moved":
            return str(error)
        try:
            where = exactly_one(self._subject.what, self._subject.places)
        except UnsafeStateError as unsafe:
            self._notes.result = "unsafe"
            self._notes.runs_on = list(running_on(self._subject.what, self._subject.places))
            return f"the guest had moved, but then: {unsafe}\n{evidence(self._hosts, str(error))}"
        return (
            f"the guest had moved and runs on host {where}, but was not measured to the end: {evidence(self._hosts, str(error))}"
        )

    def _ended(self, end: End, error: WhimbrelError | OSError) -> str:
        """What is said of a guest that has ended by itself, whatever that made fail first."""
        notes, said = self._notes, str(end)
        notes.end = self._last_words.of(end, self._doing)
        if notes.result in ("moved", "stayed"):
            notes.runs_on = list(running_on(self._subject.what, self._subject.places))
        if notes.result == "moved":
            said = f"the guest had moved, but then {end}"
            if len(notes.runs_on) != 1:
                notes.result = "unsafe"
        if isinstance(error, UnsafeStateError) and str(end) in error.brief:
            said, details = error.brief, error.details
        else:
            details = "" if isinstance(error, GuestEndedError) else str(error)
        told = GuestEndedError(
            f"{said}, while: {self._doing}",
            details=evidence(self._hosts, details),
            resolution="'whimbrel show' has the end of its console and of its QEMU's log; all logs are beside the record",
        )
        return str(told)

    def _reach_lines(self) -> list[str]:
        with ExitStack() as holding:
            return read_reach_log(self._subject.inside_on(self._end, holding))

    def _see_to_clock(self) -> None:
        """How the guest's clock stands now; it is set where that is asked for after a move."""
        if self._plan.moves:
            with ExitStack() as holding:
                inside = self._subject.inside_on(self._end, holding)
                self._notes.guest_clock = clock_after(inside, self._notes.guest_clock, self._spec.migration)

    def _check_arrival(self) -> None:
        """What arrived is what left, and it still serves."""
        with ExitStack() as holding:
            inside = self._subject.inside_on(self._end, holding)
            self._notes.identity_after = self._subject.identity(inside)
            same = self._notes.identity_after == self._notes.identity_before
            if not same and "memory" in promises_of(self._spec.migration):
                raise TrialError(
                    "what arrived is not what left",
                    details=f"before: {self._notes.identity_before}; after: {self._notes.identity_after}",
                    resolution="look at the guest's console log for a reboot",
                )
            try:
                self._subject.wait_until_it_serves(inside)
            except GuestError as error:
                raise GuestError("the service does not answer after the move", details=error.details) from error

    def _check_film(self, players: Sequence[Instrument]) -> None:
        if any(line["say"] in ("film ended", "all came") for player in players for line in player.said):
            stream, observe = self._spec.stream, self._spec.observe
            raise TrialError(
                "the film ended before the trial did",
                details=f"the film lasts {format_duration(stream.length_s)} (stream.length), and the trial is watched for"
                f" {format_duration(observe.before_s)} (observe.before), the move, and {format_duration(observe.after_s)}"
                " (observe.after)",
                resolution="give the stream a greater length in the scenario",
            )

    def _keep_logs(self) -> None:
        folder = self._workplace / "logs"
        folder.mkdir(exist_ok=True)
        for host in self._hosts:
            for name, text in host.logs().items():
                (folder / name).write_text(text)
