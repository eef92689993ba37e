"""A campaign on a service that is only watched: each trial moves it by a command, and back; all else is as in a lab."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whimbrel import __version__
from whimbrel.analysis.kept import kept_figures
from whimbrel.checks.check import Check
from whimbrel.checks.written import parsed
from whimbrel.errors import UnsafeStateError
from whimbrel.events import FIGURES, PLANNED, TOLD, TRIAL_BEGUN, TRIAL_DONE, Bus, planned
from whimbrel.moves.notes import Invocation
from whimbrel.records.series import write_series
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import (
    TRIAL_SCHEMA_VERSION,
    ClockReading,
    Event,
    InstrumentCost,
    MoveRecord,
    Outcome,
    Plan,
    Provenance,
    TrialRecord,
)
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.clock import read_pair
from whimbrel.system.provenance import machine
from whimbrel.trace_parent import TraceParent
from whimbrel.watch.findings import as_json, findings_of
from whimbrel.watch.plan import Ran, Watched, WatchPlan
from whimbrel.watch.telling import told_of
from whimbrel.watch.watching import watch

_LAST_WORDS = 500


def checks_of(spec: CampaignSpec) -> list[Check]:
    """The checks of a campaign, or of it in one of its arms; UsageError when one says what cannot be."""
    return [parsed(check) for check in spec.service.checks] if spec.service is not None else []


class WatchedCampaign:
    """Makes the planned trials; those that ``folder`` already holds are not made again.

    ``bus`` is told how it goes. ``new_span`` makes the span that each command is within; None: nobody wants spans.
    """

    def __init__(
        self, spec: CampaignSpec, plans: Sequence[Plan], folder: CampaignFolder, invocation: Invocation, bus: Bus,
        new_span: Callable[[], TraceParent] | None = None,
    ) -> None:  # fmt: skip
        self._new_span = new_span
        self._spec, self._plans, self._folder, self._invocation, self._bus = spec, plans, folder, invocation, bus

    def run(self) -> None:
        """All of them, in their order.

        UnsafeStateError, once the trial is recorded, when the service could not be moved back: no other could begin as it should.
        KeyboardInterrupt when the user has ended a trial, which is not kept then.
        """
        made = {stored.record.plan.order for stored in self._folder.trials()}
        self._bus.tell(PLANNED, trials=planned(self._plans, made))
        for plan in self._plans:
            if plan.order not in made:
                self._make(plan)

    def _make(self, plan: Plan) -> None:
        spec = self._spec.in_arm(self._spec.find_arm(plan.arm)[1])
        self._bus.tell(TRIAL_BEGUN, **plan.model_dump())
        with tempfile.TemporaryDirectory(prefix="whimbrel-") as name:
            made_in = Path(name)
            watched, before = self._watch(spec, made_in)
            there = watched[0]
            if there.interrupted or there.ran is None:
                raise KeyboardInterrupt
            record = _Record(spec, plan, self._invocation, there, made_in).of(there.ran, before)
            write_series(there.questions, made_in / "checks.parquet")
            if there.plan.hosts:
                write_series(there.hosts, made_in / "ssh_hosts.parquet")
            findings = [findings_of(each) for each in watched]
            (made_in / "watch.json").write_text(json.dumps(as_json(findings[0]), indent=1) + "\n")
            # Drawing takes a second to import, which only those who have seen a move should pay.
            from whimbrel.watch.page import write_page

            write_page(made_in, findings, ())
            stored = self._folder.commit(made_in, record)
            if self._bus.wants_samples:
                self._bus.tell(FIGURES, **kept_figures(stored).model_dump(include=TOLD))
            self._bus.tell(TRIAL_DONE, order=plan.order, arm=plan.arm, **record.outcome.told)
            self._need_back(spec, watched, made_in)

    def _watch(self, spec: CampaignSpec, made_in: Path) -> tuple[list[Watched], ClockReading]:
        assert spec.service is not None
        assert spec.migration.there is not None
        back = spec.migration.back
        plan = WatchPlan(
            checks=tuple(checks_of(spec)),
            command=("sh", "-c", spec.migration.there),
            back=("sh", "-c", back) if back is not None else (),
            before_s=spec.service.before_s,
            after_s=spec.service.after_s,
            output_to_stderr=True,
            keep_output_in=made_in,
            libvirt=spec.service.libvirt,
            guest=spec.service.guest or "",
            hosts=tuple(dict.fromkeys(spec.service.hosts)),
            new_span=self._new_span,
        )
        before = _reading()
        return watch(plan, self._bus.step, self._bus), before

    @staticmethod
    def _need_back(spec: CampaignSpec, watched: Sequence[Watched], made_in: Path) -> None:
        if spec.migration.back is None:
            return
        ran = watched[1].ran if len(watched) > 1 else None
        if ran is None or ran.exit_code:
            words = _last_words(made_in, "back-1")
            ended = f"'back' ended with {ran.exit_code}" if ran is not None else "'there' failed, so 'back' was not begun"
            raise UnsafeStateError(
                f"the service was not moved back: {ended}",
                details=words,
                resolution="see where the service is, and put it where it was; then go on with 'run --resume'",
            )


def _last_words(made_in: Path, turn: str) -> str:
    """What a command said last, on stderr if anything."""
    for end in ("stderr", "stdout"):
        file = made_in / f"{turn}.{end}"
        said = file.read_text(errors="replace").strip() if file.exists() else ""
        if said:
            return said[-_LAST_WORDS:]
    return ""


def _reading() -> ClockReading:
    pair = read_pair()
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)


@dataclass(frozen=True)
class _Record:
    """What becomes the record of one trial."""

    spec: CampaignSpec
    plan: Plan
    invocation: Invocation
    watched: Watched
    made_in: Path

    def of(self, ran: Ran, before: ClockReading) -> TrialRecord:
        """The record of a trial whose command has ended."""
        return TrialRecord(
            schema_version=TRIAL_SCHEMA_VERSION,
            spec=self.spec,
            plan=self.plan,
            outcome=self._outcome(ran),
            events=self._events(ran),
            clock_before=before,
            clock_after=_reading(),
            host_clocks={},
            move=MoveRecord(
                called_ns=ran.started_ns, returned_ns=ran.ended_ns, reserved_memory_bytes=None, reserved_disk_bytes=0,
                qemu_downtime_ms=None, completed=None, parameters=None,
            ),
            rest=None,
            reach=None,
            instruments=[InstrumentCost(name="checks", holes=self.watched.holes)],
            restored_in_s=None,
            registration=self.invocation.registration,
            unmeasured={},
            provenance=self._provenance(),
        )  # fmt: skip

    def _outcome(self, ran: Ran) -> Outcome:
        several = self.watched.plan.several
        words = _last_words(self.made_in, self.watched.turn.words if several else "command")
        error = f"the command ended with {ran.exit_code}{f': {words}' if words else ''}" if ran.exit_code else None
        return Outcome(
            result="failed" if ran.exit_code else "moved", measured=True, error=error, runs_on=[], same_identity=None
        )  # fmt: skip

    def _events(self, ran: Ran) -> list[Event]:
        window = self.watched.window
        moments = [
            ("watch begun", window.began_ns),
            ("move called", ran.started_ns),
            ("move returned", ran.ended_ns),
            ("watch ended", window.ended_ns),
        ]
        events = [Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=at_ns) for name, at_ns in moments]
        events += [
            Event(source="whimbrel", host=None, name="check", realtime_ns=None, seen_ns=window.began_ns, data=told_of(check))
            for check in self.watched.plan.checks
        ]
        events += [
            Event(source="whimbrel", host=None, name="note", realtime_ns=None, seen_ns=window.ended_ns, data={"words": words})
            for words in self.watched.notes
        ]
        return events

    def _provenance(self) -> Provenance:
        here = machine()
        window, began_at = self.watched.window, self.watched.began_at
        ended_at = began_at + datetime.timedelta(microseconds=(window.ended_ns - window.began_ns) // 1000)
        return Provenance(
            whimbrel=__version__,
            commit=self.invocation.commit,
            command=self.invocation.command,
            machine_kernel=here.kernel,
            machine_cpu=here.cpu,
            machine_cpus=here.cpus,
            machine_memory_bytes=here.memory_bytes,
            accelerator="none",
            cpu_placement={},
            versions={},
            # What blocks differ by must not pass for what arms differ by: no two blocks begin alike.
            saved_state=f"as it was in block {self.plan.block}",
            images=[],
            started_at=began_at.isoformat(timespec="seconds"),
            ended_at=ended_at.isoformat(timespec="seconds"),
        )
