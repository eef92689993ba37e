"""A measured move at a site of ours, with its instruments; or its control, where nothing moves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from whimbrel.errors import EngineError, GuestEndedError, GuestError
from whimbrel.hosts.host import Host
from whimbrel.migrate.techniques import EVERYTHING, promises_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.guest_clock import clock_after, clock_before
from whimbrel.moves.instruments import Instruments
from whimbrel.moves.measured import Asked, MeasuredMove
from whimbrel.moves.notes import Invocation, Started, ground_of
from whimbrel.moves.subject import Setting, Subject
from whimbrel.moves.testimony import judge, listen, testimony
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import StayRecord, TrialRecord
from whimbrel.spec.fields import HostName
from whimbrel.system.clock import read_pair
from whimbrel.system.instrument import Instrument


class InstrumentedMove(MeasuredMove[Subject]):
    """A move in its setting, or its control; its instruments write their series into ``folder``."""

    def __init__(
        self, setting: Setting, names: Collection[str], folder: Path, asked: Asked, runs_on: dict[str, HostName] | None = None
    ) -> None:
        super().__init__(setting.hosts, names, asked, runs_on, folder / "job.parquet")
        self.setting = setting
        self.instruments = Instruments(setting.site, setting.spec, setting.plan, setting.hosts, folder, asked.bus)
        self._witness: Instrument | None = None

    @property
    def end(self) -> Host:
        """The host where it is to be in the end: in a control, where it was."""
        return self.setting.destination if self.setting.plan.moves else self.setting.source

    def begin(self, subject: Subject) -> None:
        """What is to be known of it before it moves. One whose own clock cannot be read is moved all the same."""
        super().begin(subject)
        with self.setting.source.hypervisor() as connection:
            self.notes.host_versions = connection.versions()
        with self._noting_clock(), ExitStack() as holding:
            self.notes.guest_clock = clock_before(subject.inside_on(self.setting.source, holding))

    def watch_with(self, instrument: Instrument, watching: ExitStack) -> Instrument:
        """Starts an instrument that is to run until all is over."""
        self.running.append(watching.enter_context(instrument))
        return instrument

    def probe(self, watching: ExitStack) -> None:
        """Asks the guest's address all the while, where the file says so."""
        if self.setting.spec.observe.probe_every_s is not None:
            self.watch_with(self.instruments.probe(self.setting.spec.observe.probe_every_s), watching)

    def hear_witness(self, watching: ExitStack, patience_s: float) -> None:
        """Listens to the witness in the guest; InstrumentError when nothing comes from it in time."""
        self._witness = listen(self.instruments, watching, patience_s)
        self.running.append(self._witness)

    def make(self, watching: ExitStack, after_s: float = 0.0, once_moved: Callable[[], None] = lambda: None) -> None:
        """Moves it, and sees to its clock; or lets it stay where the plan says so."""
        if self.setting.plan.moves:
            super().make(watching, after_s, once_moved)
            self._see_to_clock()
        else:
            self._follow(self._stay, watching, after_s, once_moved)

    def judge(self) -> None:
        """Ends the instruments and asks the witness, where there is one, for what was promised."""
        for instrument in self.running:
            instrument.tell_to_end()
        if self._witness is not None:
            self.notes.witness = testimony(self._witness)
            judge(promises_of(self.setting.spec.migration) if self.setting.plan.moves else EVERYTHING, self.notes.witness)

    def record(self, start: Started, invocation: Invocation) -> TrialRecord:
        """All that was noted, as a record."""
        setting = self.setting
        ground = ground_of(setting.site, setting.spec, setting.plan)
        return self.notes.record(setting.spec, setting.plan, start, ground, invocation, read_pair())

    def _stay(self, events: MigrationEvents) -> None:
        """The control: nothing moves, and the instruments see what they see by themselves."""
        self.say("watching a guest that stays")
        from_ns = read_pair().monotonic_ns
        self.watch(self.setting.spec.observe.stay_s)
        self.notes.stay = StayRecord(from_ns=from_ns, to_ns=read_pair().monotonic_ns)
        self.notes.runs_on = [exactly_one(self.subject.what, self.subject.places)]
        self.notes.result = "stayed"

    def _see_to_clock(self) -> None:
        """How the guest's clock stands after the move; GuestError when it was not set though that was asked for."""
        notes, migration = self.notes, self.setting.spec.migration
        with self._noting_clock(), ExitStack() as holding:
            inside = self.subject.inside_on(self.end, holding)
            notes.guest_clock = clock_after(inside, notes.guest_clock, migration)
        was_set = notes.guest_clock is not None and notes.guest_clock.after_setting is not None
        if migration.after == "set-clock" and not was_set and self.subject.vms is not None:
            raise GuestError("its clock was not set", details=notes.unmeasured.get("the guest's clock", ""))

    @contextmanager
    def _noting_clock(self) -> Iterator[None]:
        try:
            yield
        except GuestEndedError:
            raise
        except (GuestError, EngineError) as why:
            self.notes.unmeasured["the guest's clock"] = str(why)
