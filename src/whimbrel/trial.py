"""One trial: a guest is restored, watched, moved, watched, and everything about it recorded.

Reads like the method section of a paper: the steps of ``_observe`` are the steps of the experiment.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whimbrel import __version__
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import CleanUpError, GuestError, MoveError, TrialError, UnsafeStateError, WhimbrelError
from whimbrel.guests import machine
from whimbrel.guests.forms import FORMS, Identity, read_reach_log
from whimbrel.guests.states import StateInfo
from whimbrel.hosts.host import Host
from whimbrel.lab.lab import Lab
from whimbrel.migrate.pre_copy import PreCopy
from whimbrel.migrate.technique import MoveReport, MoveRequest, Technique
from whimbrel.migrate.verify import exactly_one
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import (
    ClockReading,
    Event,
    HostClock,
    InstrumentCost,
    MoveRecord,
    Outcome,
    Plan,
    Provenance,
    ReachCounts,
    RestRecord,
    TrialRecord,
)
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.clock import ClockPair, clock_id, read_pair
from whimbrel.system.deadline import Deadline, pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.provenance import commit
from whimbrel.system.provenance import machine as this_machine

log = logging.getLogger(__name__)

_TECHNIQUES: dict[str, Technique] = {"pre-copy": PreCopy()}
# Programs that a reader looks for; None where they had no part.
_UNUSED: dict[str, str | None] = {"criu": None, "docker": None, "nginx": None}
_PLAYING_S = 60.0
_WATCH_EVERY_S = 0.25

Notice = Callable[[str], None]


@dataclass
class _Notes:
    """What a trial has found so far; a trial that fails in the middle keeps what it has."""

    events: list[Event] = field(default_factory=list)
    restored_in_s: float | None = None
    rest: RestRecord | None = None
    report: MoveReport | None = None
    qemu_downtime_ms: int | None = None
    parameters: dict[str, Any] | None = None
    reach: ReachCounts | None = None
    costs: list[InstrumentCost] = field(default_factory=list)
    identity_before: Identity | None = None
    identity_after: Identity | None = None
    runs_on: str | None = None
    failure: str | None = None


class Trial:
    """One repetition of one arm on one lab, from one saved state; writes its series into ``workplace``."""

    def __init__(
        self, lab: Lab, spec: CampaignSpec, plan: Plan, state: StateInfo, workplace: Path, command: str, notice: Notice
    ) -> None:
        self._lab = lab
        self._spec = spec
        self._plan = plan
        self._state = state
        self._workplace = workplace
        self._command = command
        self._notice = notice
        self._scenario = next(scenario for scenario in spec.scenarios if scenario.name == plan.scenario)
        self._source: Host = lab.server_a
        self._destination: Host = lab.server_b
        self._notes = _Notes()

    def run(self) -> TrialRecord:
        """Makes the trial. A failed move or a failed measurement is in the record; UnsafeStateError is raised."""
        started_at = _now()
        clock_before = read_pair()
        try:
            self._observe()
        except UnsafeStateError:
            self._keep_logs()
            raise
        except WhimbrelError as error:
            log.debug("the trial failed", exc_info=True)
            self._notes.failure = str(error)
        if self._notes.failure is not None or (self._notes.report is not None and self._notes.report.result != "moved"):
            self._keep_logs()
        self._discard_guest()
        for log_file in self._workplace.glob("*.log"):
            if log_file.stat().st_size == 0:
                log_file.unlink()
        return self._record(started_at, clock_before, read_pair())

    def _observe(self) -> None:
        notes = self._notes
        observe = self._spec.observe
        form = FORMS[self._scenario.form]
        self._notice("restoring the saved state")
        with Connection.open(self._source.libvirt_uri) as connection, ExitStack() as instruments:
            agent, notes.restored_in_s = machine.restore(self._lab, connection, self._state.folder)
            notes.identity_before = self._identity(agent)
            sampler = instruments.enter_context(self._sampler())
            self._notice("at rest")
            self._look_at_rest(agent, [sampler])
            reaching = self._scenario.service == "stream" and observe.reach_every_s is not None
            reaching = reaching and form.start_reach_check(agent, observe.reach_every_s or 0.0)
            running = [sampler]
            if observe.probe_every_s is not None:
                running.append(instruments.enter_context(self._probe(observe.probe_every_s)))
            player = instruments.enter_context(self._player()) if self._plan.viewers else None
            if player is not None:
                running.append(player)
                self._wait_for_viewers(player)
            self._notice("watching before the move")
            self._watch(observe.before_s, running)
            lines_before = len(read_reach_log(agent)) if reaching else 0
            events = instruments.enter_context(MigrationEvents(machine.GUEST_NAME, self._source, self._destination))
            self._notice("moving")
            try:
                self._move(events)
                lines_during = self._reach_lines() if reaching else []
                self._notice("watching after the move")
                self._watch(observe.after_s, running)
                lines_after = self._reach_lines() if reaching else []
            finally:
                notes.events = events.events + _player_events(player)
                notes.qemu_downtime_ms, notes.parameters = events.qemu_downtime_ms, events.parameters
                events.write_job(self._workplace / "job.parquet")
            self._check_film(player)
            if reaching:
                notes.reach = count_reach(lines_after, lines_before, len(lines_during))
            self._check_identity()
        notes.costs = [InstrumentCost(name=instrument.name, cpu_s=instrument.cpu_s) for instrument in running]
        notes.events = [event for event in notes.events if event.source != "player"] + _player_events(player)

    def _sampler(self) -> Instrument:
        """Runs in the vantage's network, which it so sees as its own."""
        points = [self._source.sample_points(), self._destination.sample_points(), self._lab.vantage.sample_points()]
        configuration = {
            "points": [{"host": point.host, "cgroup": point.cgroup, "init_pid": point.init_pid} for point in points if point],
            "every_s": self._spec.observe.sample_every_s,
        }
        return self._instrument("sampler", "whimbrel.observe.sampler", configuration, "hosts", self._lab.instruments.procs_files)

    def _probe(self, every_s: float) -> Instrument:
        configuration = {"address": self._lab.guest_address, "every_s": every_s}
        return self._instrument("probe", "whimbrel.observe.probe", configuration, "probe", self._lab.instruments.procs_files)

    def _player(self) -> Instrument:
        stream = self._spec.stream
        configuration = {
            "url": f"rtmp://{self._lab.guest_address}/film/film.flv",
            "viewers": self._plan.viewers,
            "read_ahead_s": stream.read_ahead_s,
            "length_s": stream.length_s,
        }
        return self._instrument("player", "whimbrel.stream.player", configuration, "packets", self._lab.vantage.procs_files)

    def _instrument(
        self, name: str, module: str, configuration: dict[str, Any], series: str, procs_files: Sequence[Path]
    ) -> Instrument:
        return Instrument(
            name, module, configuration, output=self._workplace / f"{series}.parquet", log_file=self._workplace / f"{name}.log",
            procs_files=procs_files, wrap=self._lab.vantage.command,
        )  # fmt: skip

    def _look_at_rest(self, agent: GuestAgent, running: list[Instrument]) -> None:
        memory = machine.memory_of(agent)
        from_ns = read_pair().monotonic_ns
        self._watch(self._spec.observe.at_rest_s, running)
        self._notes.rest = RestRecord(
            guest_memory_used_bytes=memory.total_bytes - memory.available_bytes,
            guest_cached_bytes=memory.cached_bytes,
            disk_used_bytes=self._state.disk_used_bytes,
            state_memory_bytes=(self._state.folder / "memory.save").stat().st_size,
            from_ns=from_ns,
            to_ns=read_pair().monotonic_ns,
        )

    def _wait_for_viewers(self, player: Instrument) -> None:
        wanted = set(range(1, self._plan.viewers + 1))
        self._notice(f"waiting for {self._plan.viewers} viewer{'s' if self._plan.viewers > 1 else ''} to play")
        player.wait_for(
            lambda said: {line["viewer"] for line in said if line["say"] == "playing"} >= wanted,
            "to play with all viewers",
            _PLAYING_S,
        )

    def _watch(self, seconds: float, running: list[Instrument]) -> None:
        """Lets time pass, and ends the trial when an instrument ends."""
        deadline = Deadline(seconds)
        while not deadline.passed:
            pause(min(_WATCH_EVERY_S, deadline.left_s))
            for instrument in running:
                instrument.check()

    def _move(self, events: MigrationEvents) -> None:
        request = MoveRequest(
            guest=machine.GUEST_NAME,
            source=self._source,
            destination=self._destination,
            memory_bytes=self._spec.guest.memory_bytes,
            disk_bytes=self._spec.guest.disk_bytes,
            spec=self._spec.migration,
        )
        report = _TECHNIQUES[self._spec.migration.technique].move(request, events)
        self._notes.report = report
        self._notes.runs_on = exactly_one(machine.GUEST_NAME, [self._source, self._destination])
        if report.result != "moved":
            raise MoveError(f"the move {report.result}; the guest runs on host {self._notes.runs_on}", details=report.error or "")
        if self._notes.runs_on != self._destination.name:
            raise UnsafeStateError(f"libvirt said that the move succeeded, but the guest runs on host {self._notes.runs_on}")

    def _arrived(self) -> Connection:
        return Connection.open(self._destination.libvirt_uri)

    def _reach_lines(self) -> list[str]:
        with self._arrived() as connection:
            return read_reach_log(_agent_on(connection))

    def _check_identity(self) -> None:
        with self._arrived() as connection:
            self._notes.identity_after = self._identity(_agent_on(connection))
        if self._notes.identity_after != self._notes.identity_before:
            raise TrialError(
                "what arrived is not what left",
                details=f"before: {self._notes.identity_before}; after: {self._notes.identity_after}",
                resolution="look at the guest's console log for a reboot",
            )

    def _identity(self, agent: GuestAgent) -> Identity:
        form = "vm" if self._scenario.service == "none" else self._scenario.form
        return FORMS[form].identity(agent)

    @staticmethod
    def _check_film(player: Instrument | None) -> None:
        if player is not None and any(line["say"] == "film ended" for line in player.said):
            raise TrialError("the film ended before the trial did", resolution="give the stream a greater length in the scenario")

    def _keep_logs(self) -> None:
        folder = self._workplace / "logs"
        folder.mkdir(exist_ok=True)
        for host in (self._source, self._destination):
            for name, text in host.logs().items():
                (folder / name).write_text(text)

    def _discard_guest(self) -> None:
        """Takes the guest's power away on both hosts."""
        for host in (self._source, self._destination):
            try:
                with Connection.open(host.libvirt_uri) as connection:
                    domain = connection.find(machine.GUEST_NAME)
                    if domain is not None:
                        domain.destroy()
            except WhimbrelError as error:
                raise CleanUpError(f"the guest may still run on host {host.name}", details=str(error),
                                   resolution="'whimbrel gc' removes the whole lab") from error  # fmt: skip

    def _record(self, started_at: str, clock_before: ClockPair, clock_after: ClockPair) -> TrialRecord:
        notes = self._notes
        report = notes.report
        result = report.result if report is not None and notes.failure is None else "failed"
        if report is not None and report.result == "aborted":
            result = "aborted"
        return TrialRecord(
            schema_version=1,
            spec=self._spec,
            plan=self._plan,
            outcome=Outcome(
                result=result,
                error=notes.failure,
                runs_on=["a" if notes.runs_on == "a" else "b"] if notes.runs_on else [],
                same_identity=notes.identity_before == notes.identity_after if notes.identity_after else None,
            ),
            events=notes.events,
            clock_before=_reading(clock_before),
            clock_after=_reading(clock_after),
            host_clocks={name: HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0) for name in ("a", "b", "vantage")},
            move=self._move_record(),
            rest=notes.rest,
            reach=notes.reach,
            instruments=notes.costs,
            restored_in_s=notes.restored_in_s,
            provenance=self._provenance(started_at),
        )

    def _move_record(self) -> MoveRecord | None:
        report = self._notes.report
        if report is None:
            return None
        return MoveRecord(
            called_ns=report.called_ns,
            returned_ns=report.returned_ns,
            reserved_memory_bytes=report.reserved_memory_bytes,
            reserved_disk_bytes=report.reserved_disk_bytes,
            qemu_downtime_ms=self._notes.qemu_downtime_ms,
            completed=report.completed,
            parameters=self._notes.parameters,
        )

    def _provenance(self, started_at: str) -> Provenance:
        here = this_machine()
        with Connection.open(self._source.libvirt_uri) as connection:
            versions = _UNUSED | connection.versions() | self._state.versions
        lab = self._lab
        return Provenance(
            whimbrel=__version__,
            commit=commit(),
            command=self._command,
            machine_kernel=here.kernel,
            machine_cpu=here.cpu,
            machine_cpus=here.cpus,
            machine_memory_bytes=here.memory_bytes,
            accelerator=self._state.accelerator,
            cpu_placement=lab.cpu_placement,
            versions=versions,
            saved_state=self._state.id,
            images=lab.image_ids(self._spec.guest.disk_bytes, self._spec.stream),
            started_at=started_at,
            ended_at=_now(),
        )


def count_reach(lines: Sequence[str], before: int, until_after_move: int) -> ReachCounts:
    """Counts ``seconds name ok|failed`` lines: the first ``before``, those up to ``until_after_move``, and the rest."""
    parts = {"before": lines[:before], "during": lines[before:until_after_move], "after": lines[until_after_move:]}
    counts = {
        f"{part}_{said}": sum(line.endswith(f" {said}") for line in chosen)
        for part, chosen in parts.items()
        for said in ("ok", "failed")
    }
    return ReachCounts(**counts)


def _player_events(player: Instrument | None) -> list[Event]:
    if player is None:
        return []
    return [
        Event(source="player", host=None, name=line["say"], realtime_ns=None, seen_ns=line["t_ns"],
              data={key: value for key, value in line.items() if key not in ("say", "t_ns")})
        for line in player.said if "t_ns" in line
    ]  # fmt: skip


def _agent_on(connection: Connection) -> GuestAgent:
    domain = connection.find(machine.GUEST_NAME)
    if domain is None:
        raise GuestError("the guest is not on the destination")
    return GuestAgent(domain)


def _reading(pair: ClockPair) -> ClockReading:
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
