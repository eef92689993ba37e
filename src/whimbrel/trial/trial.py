"""One trial; reads like the method section of a paper: the steps of ``_observe`` are the steps of the experiment."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from whimbrel.errors import GuestError, TrialError
from whimbrel.events import PREDICTED, Bus
from whimbrel.guests import guest as the_guest
from whimbrel.hosts.inside import Inside
from whimbrel.hosts.site import Site
from whimbrel.migrate.techniques import promises_of
from whimbrel.moves.fresh import Start, fresh
from whimbrel.moves.instrumented import InstrumentedMove
from whimbrel.moves.instruments import play
from whimbrel.moves.measured import Asked
from whimbrel.moves.notes import Invocation
from whimbrel.moves.reach import ReachCheck
from whimbrel.moves.subject import Setting
from whimbrel.records.trial import Plan, RestRecord, TrialRecord
from whimbrel.services.client import counted, watched_by
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.clock import read_pair
from whimbrel.system.instrument import Instrument
from whimbrel.trial.foresight import Foretell
from whimbrel.units import format_duration

_HEARING_S = 60.0


class Trial:
    """One repetition of one arm at one site, from one saved state; writes its series into ``folder``, publishes on ``bus``.

    With ``keep_on_failure`` the guest of a failed trial is left as it is, and one that panics as it is then.
    With ``foretell`` its move is predicted beforehand.
    """

    def __init__(
        self,
        site: Site,
        spec: CampaignSpec,
        plan: Plan,
        state: Start,
        folder: Path,
        invocation: Invocation,
        bus: Bus,
        keep_on_failure: bool = False,
        foretell: Foretell | None = None,
    ) -> None:
        self._site = site
        self._spec = spec
        self._plan = plan
        self._state = state
        self._folder = folder
        self._invocation = invocation
        self._keep_on_failure = keep_on_failure
        self._foretell = foretell
        self._bus = bus
        setting = Setting(site, spec, plan)
        self._setting = setting
        self._fresh = fresh(setting, state, keep_on_failure)
        self._move = InstrumentedMove(setting, self._fresh.names, folder, Asked(bus, _cure))

    def run(self) -> TrialRecord:
        """Makes the trial. What failed, the move or its measurement, is in the record; only what stops us is raised."""
        the_guest.refuse_another(self._site)
        try:
            failed = self._move.attempt(self._observe)
            if failed is not None:
                self._keep_logs()
        except BaseException:
            self._fresh.discard()
            raise
        if failed is None or not self._keep_on_failure:
            self._fresh.discard()
            if self._state.folder is not None:
                the_guest.keep_memory_for(self._site, self._state.folder)
        for log_file in self._folder.glob("*.log"):
            if log_file.stat().st_size == 0:
                log_file.unlink()
        return self._move.record(self._state, self._invocation)

    def _observe(self, watching: ExitStack) -> None:
        move, notes, observe = self._move, self._move.notes, self._spec.observe
        move.say("restoring the saved state" if self._state.folder is not None else "starting the container")
        with ExitStack() as holding:
            brought = self._fresh.bring_up(holding)
            subject, inside, notes.restored_in_s = brought.subject, brought.inside, brought.took_s
            move.instruments.load(watching)
            notes.identity_before = subject.identity(inside)
            move.begin(subject)
            self._make_memory_change(inside)
            move.watch_with(move.instruments.sampler(), watching)
            move.instruments.wait_until_loaded()
            move.say("at rest")
            self._look_at_rest(inside)
            reach = ReachCheck(self._setting, subject)
            reach.start(inside)
            move.probe(watching)
            self._start_witness(inside, watching)
            players = self._start_viewers(watching)
            move.say("watching before the move")
            move.watch(observe.before_s)
            reach.look(self._setting.source)
            move.make(watching, observe.after_s, once_moved=lambda: reach.look(move.end))
            reach.look(move.end)
            self._check_film(players)
            notes.reach = reach.counts
            self._check_arrival()
            move.judge()

    def _make_memory_change(self, inside: Inside) -> None:
        if self._spec.guest.dirtier is not None:
            self._move.say("starting what changes the guest's memory")
            the_guest.start_dirtier(inside, self._spec.guest.dirtier)

    def _look_at_rest(self, inside: Inside) -> None:
        move = self._move
        used_bytes, cached_bytes = move.subject.memory_at_rest(inside)
        saved = self._state.folder
        from_ns = read_pair().monotonic_ns
        with ExitStack() as meanwhile:
            link = move.instruments.try_link(meanwhile)
            move.watch(self._spec.observe.at_rest_s)
            link_bytes_per_s = link()
        move.notes.rest = RestRecord(
            guest_memory_used_bytes=used_bytes,
            guest_cached_bytes=cached_bytes,
            disk_used_bytes=self._state.disk_used_bytes,
            state_memory_bytes=(saved / "memory.save").stat().st_size if saved is not None else None,
            link_bytes_per_s=link_bytes_per_s,
            from_ns=from_ns,
            to_ns=read_pair().monotonic_ns,
        )
        if self._foretell is not None:
            move.notes.prediction = self._foretell(link_bytes_per_s)
            if move.notes.prediction is not None:
                self._bus.tell(PREDICTED, **move.notes.prediction.model_dump())

    def _start_witness(self, inside: Inside, watching: ExitStack) -> None:
        if self._spec.observe.witness:
            # A container that moves has one in it from the beginning.
            if self._spec.migration.moves == "vm":
                the_guest.start_witness(inside)
            self._move.hear_witness(watching, _HEARING_S)

    def _start_viewers(self, watching: ExitStack) -> list[Instrument]:
        """A player for each kind of viewers that the plan has, once all of them play."""
        players = []
        for client, number in watched_by(self._plan):
            self._move.say(f"waiting for {counted(client, number)} to play")
            players.append(play(self._move.instruments.client(client), number, watching))
        self._move.running += players
        return players

    def _check_film(self, players: list[Instrument]) -> None:
        if any(line["say"] in ("film ended", "all came") for player in players for line in player.said):
            stream, observe = self._spec.stream, self._spec.observe
            raise TrialError(
                "the film ended before the trial did",
                details=f"the film lasts {format_duration(stream.length_s)} (stream.length), and the trial is watched for"
                f" {format_duration(observe.before_s)} (observe.before), the move, and {format_duration(observe.after_s)}"
                " (observe.after)",
                resolution="give the stream a greater length in the scenario",
            )

    def _check_arrival(self) -> None:
        """What arrived is what left, and it still serves."""
        notes, subject = self._move.notes, self._move.subject
        with ExitStack() as holding:
            inside = subject.inside_on(self._move.end, holding)
            notes.identity_after = subject.identity(inside)
            if notes.identity_after != notes.identity_before and "memory" in promises_of(self._spec.migration):
                raise TrialError(
                    "what arrived is not what left",
                    details=f"before: {notes.identity_before}; after: {notes.identity_after}",
                    resolution="look at the guest's console log for a reboot",
                )
            try:
                subject.wait_until_it_serves(inside)
            except GuestError as error:
                raise GuestError("the service does not answer after the move", details=error.details) from error

    def _keep_logs(self) -> None:
        folder = self._folder / "logs"
        folder.mkdir(exist_ok=True)
        for host in self._setting.hosts:
            for name, text in host.access.logs().items():
                (folder / name).write_text(text)


def _cure(gone: bool) -> str:
    return "'whimbrel show' has the end of its console and of its QEMU's log; all logs are beside the record"
