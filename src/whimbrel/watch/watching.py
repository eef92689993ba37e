"""The course of a watch: try each check; for each move wait until all is steady, let the command make it, wait until all is
as before.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from whimbrel.analysis.answers import Window
from whimbrel.analysis.engines import Seen
from whimbrel.analysis.steadiness import Recent, as_before, span_ns, steady
from whimbrel.errors import InstrumentError, UsageError
from whimbrel.events import Bus
from whimbrel.observe.container_events import ContainerEvents
from whimbrel.observe.ssh_host import SshHost
from whimbrel.records.series import HOSTS_SCHEMA
from whimbrel.units import format_duration
from whimbrel.watch.asking import Asking
from whimbrel.watch.command import Reserve, WatchedCommand, need_command, raise_descriptor_limit
from whimbrel.watch.log import whole_frame
from whimbrel.watch.plan import Mark, Ran, Turn, Watched, WatchPlan
from whimbrel.watch.telling import Telling, tell_called, tell_returned

if TYPE_CHECKING:
    from whimbrel.observe.bystander import Bystander

# No longer than that the steady state is looked for.
MOST_BEFORE_S, MOST_AFTER_S = 30.0, 60.0
_LOOK_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# So many times a signal goes to the command; the next one means us.
_FOR_THE_COMMAND = 2

Say = Callable[[str], None]


def watch(plan: WatchPlan, say: Say, bus: Bus | None = None) -> list[Watched]:
    """Does it all, one item per move; UsageError when a check is silent before the first, unless that may be so."""
    if plan.command:
        need_command(plan.command)
    raise_descriptor_limit()
    # An event loop takes signals over, and does not give them back as they were.
    before = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGUSR1)}
    try:
        return asyncio.run(_Course(plan, say, bus or Bus()).go())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Made:
    """One move, as far as it has come."""

    turn: Turn
    began_at: datetime.datetime
    began_ns: int
    ended_ns: int
    ran: Ran | None
    notes: list[str]
    engines: Seen | None = None


class _Course:
    def __init__(self, plan: WatchPlan, say: Say, bus: Bus) -> None:
        self._plan = plan
        self._bus = bus
        self._say = say
        self._marks: list[Mark] = []
        self._notes: list[str] = []
        self._signals = 0
        self._command: WatchedCommand | None = None
        self._ended_with: int | None = None
        self._bystander: Bystander | None = None
        self._hosts = [SshHost(name, bus) for name in plan.hosts]
        self._containers = [ContainerEvents(name) for name in plan.containers]
        self._span_ns = [span_ns(check.rate_per_s) for check in plan.checks]

    async def go(self) -> list[Watched]:
        self._enough = asyncio.Event()
        self._listen_to_the_user()
        self._reserve = Reserve()
        self._reserve.hold()
        asking = Asking(self._plan.checks)
        self._logs = asking.logs
        self._asking = asking
        told: Telling | None = None
        telling: asyncio.Task[None] | None = None
        try:
            await self._listen_to_engines()
            await self._sample_hosts()
            await asyncio.gather(*(asyncio.to_thread(container.open) for container in self._containers))
            await self._try()
            since_ns = time.monotonic_ns()
            asking.start()
            told = Telling(self._plan.checks, self._logs, self._bus)
            telling = asyncio.create_task(told.run())
            made = await self._all_moves()
            asking.check_alive()
        except InstrumentError as error:
            if self._ended_with is not None:
                error.details = f"the command had ended with {self._ended_with}"
            raise
        finally:
            if telling is not None:
                telling.cancel()
            await asking.stop(self._enough)
            if told is not None:
                # Of late answers, too.
                told.tell()
            self._reserve.release()
            if self._bystander is not None:
                await asyncio.to_thread(self._bystander.close)
            closing = [*(host.close for host in self._hosts), *(container.close for container in self._containers)]
            await asyncio.gather(*map(asyncio.to_thread, closing))
        questions, films = whole_frame(asking.logs), asking.films()
        return [self._watched(each, since_ns, questions, films) for each in made]

    def _watched(self, made: _Made, since_ns: int, questions: pl.DataFrame, films: dict[int, pl.DataFrame]) -> Watched:
        if self._plan.several:
            questions = questions.filter(pl.col("due_ns").is_between(made.began_ns, made.ended_ns, closed="left"))
        return Watched(
            plan=self._plan,
            began_at=made.began_at,
            window=self._window(made),
            questions=questions,
            ran=made.ran,
            marks=[mark for mark in self._all_marks() if not self._plan.several or made.began_ns <= mark.t_ns < made.ended_ns],
            holes=self._asking.looks.holes,
            words=[dict(log.words) for log in self._logs],
            films=films,
            notes=made.notes,
            interrupted=self._signals > 0,
            turn=made.turn,
            since_ns=since_ns,
            engines=made.engines,
            hosts=pl.DataFrame([row for host in self._hosts for row in host.rows], schema=HOSTS_SCHEMA),
        )

    def _all_marks(self) -> list[Mark]:
        """The user's, and what happened to containers."""
        told = [Mark(at_ns, f"{each.name}: {word}") for each in self._containers for at_ns, word in each.seen]
        return sorted([*self._marks, *told], key=lambda mark: mark.t_ns)

    async def _listen_to_engines(self) -> None:
        if self._plan.libvirt:
            # Whoever asks for it has libvirt-python; others need not.
            from whimbrel.observe.bystander import Bystander

            self._say(f"connecting to libvirt on {' and '.join(self._plan.libvirt)}")
            bystander = Bystander(self._plan.libvirt, self._plan.guest, self._bus)
            await asyncio.to_thread(bystander.open)
            self._bystander = bystander

    async def _sample_hosts(self) -> None:
        if self._plan.hosts:
            self._say(f"connecting to {' and '.join(self._plan.hosts)} by ssh")
            await asyncio.gather(*(asyncio.to_thread(host.open) for host in self._hosts))

    async def _all_moves(self) -> list[_Made]:
        """One after the other, no more once one has failed or the user has had enough."""
        made: list[_Made] = []
        turns = self._plan.turns
        for position, turn in enumerate(turns):
            if self._plan.several:
                warms_up = "" if turn.counts else ", to warm up"
                self._say(f"move {position + 1} of {len(turns)}, {turn.way}{warms_up}")
            made.append(await self._one_move(turn))
            ran, left = made[-1].ran, len(turns) - position - 1
            ended_badly = ran is not None and ran.exit_code != 0
            if left and (ended_badly or self._enough.is_set() or self._signals):
                why = f"the command ended with {ran.exit_code}" if ran is not None and ended_badly else "interrupted"
                made[-1].notes.append(f"{why}: {left} more move{'s were' if left > 1 else ' was'} not begun")
            if ended_badly or self._enough.is_set() or self._signals:
                break
        return made

    async def _one_move(self, turn: Turn) -> _Made:
        began_at, began_ns = datetime.datetime.now(datetime.UTC), time.monotonic_ns()
        self._notes, engines = [], None
        ran = None
        if self._plan.command:
            ran = await self._with_command(turn, began_ns)
        else:
            await self._without_command()
        ended_ns = time.monotonic_ns()
        if ran is not None and self._bystander is not None:
            engines = await asyncio.to_thread(self._bystander.end)
            self._notes += engines.notes
        return _Made(turn, began_at, began_ns, ended_ns, ran, self._notes, engines)

    def _window(self, made: _Made) -> Window:
        """The move is the command; without one, it is from the first mark to the last."""
        if made.ran is not None:
            return Window(made.began_ns, made.ran.started_ns, made.ran.ended_ns, made.ended_ns)
        if self._marks and not self._plan.command:
            return Window(made.began_ns, self._marks[0].t_ns, self._marks[-1].t_ns, made.ended_ns)
        return Window(made.began_ns, None, None, made.ended_ns)

    def _listen_to_the_user(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # What was ignored (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGUSR1, self._mark, "")
        if self._plan.marks_from_stdin:
            # A file, or nothing at all, has no lines to come.
            with suppress(OSError):
                loop.add_reader(0, self._read_marks)

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        if self._command is None:
            self._enough.set()
        elif self._signals <= _FOR_THE_COMMAND:
            self._say(f"the command is told to stop ({number.name}); whimbrel waits for it and then says what it saw")
            self._command.pass_on(number)
        else:
            self._enough.set()

    def _mark(self, text: str) -> None:
        self._marks.append(Mark(time.monotonic_ns(), text or f"mark {len(self._marks) + 1}"))
        self._say(f"marked: {self._marks[-1].text}")

    def _read_marks(self) -> None:
        # It is readable, so this does not wait; the terminal, which others use too, stays as it is.
        try:
            data = os.read(0, 4096)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(0)
        for line in data.decode(errors="replace").splitlines():
            self._mark(line.strip()[:200])

    async def _try(self) -> None:
        names = [check.name for check in self._plan.checks]
        self._say(f"trying {len(names)} check{'s' if len(names) > 1 else ''}")
        trying = asyncio.create_task(self._asking.try_all())
        enough = asyncio.create_task(self._enough.wait())
        await asyncio.wait([trying, enough], return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()
        if not trying.done():
            trying.cancel()
            raise KeyboardInterrupt
        silent = [f"{names[position]}: {words}" for position, words in trying.result().items()]
        if not silent:
            return
        if not self._plan.anyway:
            raise UsageError(
                f"{len(silent)} of {len(names)} checks {'has' if len(silent) == 1 else 'have'} no good answer"
                f"{'; the command was not started' if self._plan.command else ''}",
                details="\n".join(silent),
                resolution="correct the URL or start the service, or go on with --anyway",
            )
        for line in silent:
            self._say(f"no good answer yet: {line}")

    async def _with_command(self, turn: Turn, began_ns: int) -> Ran | None:
        await self._before(began_ns)
        if self._enough.is_set():
            self._notes.append("interrupted before the command was started")
            return None
        usual_ns = [_longest_ns(log.ended_since(began_ns)) for log in self._logs]
        way = await asyncio.to_thread(self._bystander.begin) if self._bystander is not None else (None, None)
        self._say(f"starting {self._plan.command_of(turn)[0] if turn.way == 'there' else self._plan.back[-1]}")
        self._reserve.release()
        span = self._plan.new_span() if self._plan.new_span is not None else None
        self._command = WatchedCommand(self._plan, turn, span)
        tell_called(self._bus, way, span, self._command.started_ns)
        ending = asyncio.create_task(self._command.end())
        while not ending.done() and not self._enough.is_set():
            # Even if what asks has failed: whoever started a move hears of its end.
            await asyncio.wait([ending], timeout=_LOOK_S)
        if not ending.done():
            ending.cancel()
            pid = self._command.running.pid
            self._notes.append(f"the command (process {pid}) still ran when whimbrel was told to stop; it was left running")
            return Ran(128 + signal.SIGINT, self._command.started_ns, time.monotonic_ns())
        ran = ending.result()
        self._ended_with = ran.exit_code
        tell_returned(self._bus, ran)
        if not self._command.finish():
            self._notes.append("the command has ended, but something it started still runs and may go on with the move")
        self._command = None
        self._reserve.hold()
        if not self._signals:
            await self._after(ran, usual_ns)
        return ran

    async def _before(self, began_ns: int) -> None:
        if self._plan.before_s is not None:
            await self._pause(self._plan.before_s)
            return
        self._say("watching until all is steady")

        def settled(position: int, now_ns: int) -> bool:
            log = self._logs[position]
            since_ns = now_ns - 2 * self._span_ns[position]
            return steady(log.ended_since(since_ns), log.oldest_open_ns, now_ns, self._span_ns[position], began_ns)

        for name in await self._until(settled, set(range(len(self._logs))), MOST_BEFORE_S):
            self._notes.append(f"{name} was not steady within {format_duration(MOST_BEFORE_S)} before the command")

    async def _after(self, ran: Ran, usual_ns: list[int | None]) -> None:
        if self._plan.after_s is not None:
            await self._pause(self._plan.after_s)
            return
        self._say(f"the command ended with {ran.exit_code}; watching until all is as before")

        def returned(position: int, now_ns: int) -> bool:
            log = self._logs[position]
            usual = usual_ns[position]
            recent = log.ended_since(now_ns - self._span_ns[position])
            return as_before(recent, log.oldest_open_ns, now_ns, self._span_ns[position], ran.ended_ns, usual)

        # What never answered before cannot be as it was.
        waited_for = {position for position, usual in enumerate(usual_ns) if usual is not None}
        for name in await self._until(returned, waited_for, MOST_AFTER_S):
            self._notes.append(f"{name} was not as before within {format_duration(MOST_AFTER_S)} after the command")

    async def _until(self, true: Callable[[int, int], bool], positions: set[int], most_s: float) -> list[str]:
        """Waits until it is true of all these checks at one time, or at most so long: the names of those of which it is not."""
        until_ns = time.monotonic_ns() + round(most_s * 1e9)
        while True:
            await self._pause(_LOOK_S)
            now_ns = time.monotonic_ns()
            # Looking takes time that asking needs: at the first that is not so, it is over.
            left = next((position for position in sorted(positions) if not true(position, now_ns)), None)
            if left is None or self._enough.is_set():
                return []
            if now_ns > until_ns:
                return [self._plan.checks[each].name for each in sorted(positions) if not true(each, now_ns)]

    async def _without_command(self) -> None:
        if self._plan.for_s is None:
            self._say("watching; Ctrl-C ends it")
        else:
            self._say(f"watching for {format_duration(self._plan.for_s)}")
        await self._pause(self._plan.for_s)

    async def _pause(self, seconds: float | None) -> None:
        """Waits so long, or until it is enough."""
        until_s = time.monotonic() + seconds if seconds is not None else None
        while not self._enough.is_set() and (until_s is None or time.monotonic() < until_s):
            left_s = _LOOK_S if until_s is None else min(_LOOK_S, max(0.001, until_s - time.monotonic()))
            await asyncio.sleep(left_s)
            self._asking.check_alive()


def _longest_ns(recent: Iterable[Recent]) -> int | None:
    """The longest latency of a good answer; None where there was none."""
    return max((question.ended_ns - question.due_ns for question in recent if question.good), default=None)
