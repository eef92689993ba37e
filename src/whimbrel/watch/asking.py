"""Questions on their schedule, whatever became of those before: an open loop, so that a stall hides nothing.

What holds *us* up is noted: how late each question was sent, when our loop stood still, and what could not be sent at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from whimbrel.checks.check import NOT_SENT, Asker, Check, Listener, NotSent, Tools
from whimbrel.checks.failures import failure_of
from whimbrel.checks.names import Names
from whimbrel.checks.registry import open_check
from whimbrel.errors import InstrumentError
from whimbrel.system.child import Looks
from whimbrel.system.timer import Timer
from whimbrel.watch.log import CheckLog

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# A question that is later than this is not asked any more: it would only add to what makes us late.
MOST_LATE_NS = 1_000_000_000
# Our loop comes round that often; longer than the limit without is a hole.
_BEAT_S, HOLE_S = 0.01, 0.05
# So many are sent before answers are looked at again.
_AT_ONCE = 32
_LOOK_UPS = 64
_TRIES, _TRY_EVERY_S, _TRY_S = 3, 0.3, 5.0


@dataclass
class _Asked:
    """A check, who asks for it, and what became of it."""

    check: Check
    asker: Asker | Listener
    log: CheckLog


class Asking:
    """All checks of a watch, on the running event loop."""

    def __init__(self, checks: Sequence[Check]) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_LOOK_UPS))
        names = Names()
        self._counting = False
        self._asked: list[_Asked] = []
        for check in checks:
            log = CheckLog()
            self._asked.append(_Asked(check, open_check(check, Tools(names, self._loss_of(log))), log))
        # What became of the questions of each check, in the checks' order.
        self.logs = [asked.log for asked in self._asked]
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._numbers = 0
        self.looks = Looks(HOLE_S)

    def _loss_of(self, log: CheckLog) -> Callable[[], None]:
        def lost() -> None:
            if self._counting:
                log.note_lost(time.monotonic_ns())

        return lost

    async def try_all(self) -> dict[int, str]:
        """Asks each check a few times: the positions of those that never answered well, and what they said."""
        tried = await asyncio.gather(*(self._try(asked) for asked in self._asked))
        return {position: words for position, words in enumerate(tried) if words}

    async def _try(self, asked: _Asked) -> str:
        words = ""
        for _ in range(_TRIES):
            words = await self._try_once(asked)
            if not words:
                return ""
            await asyncio.sleep(_TRY_EVERY_S)
        return words

    async def _try_once(self, asked: _Asked) -> str:
        try:
            async with asyncio.timeout(min(asked.check.timeout_s, _TRY_S)):
                await _first_answer(asked.asker)
        except Exception as error:
            failure = failure_of(error)
            return str(failure) if isinstance(failure, NotSent) else f"{failure.failure}: {failure.words}"
        return ""

    def start(self) -> None:
        """Starts to ask everything on its schedule; from now on it counts."""
        self._counting = True
        create = asyncio.get_running_loop().create_task
        listeners = [asked for asked in self._asked if not asks(asked.asker)]
        self._background = [create(self._beat()), create(self._send_all())]
        self._background += [create(self._keep_listening(asked)) for asked in listeners]

    def check_alive(self) -> None:
        """InstrumentError when what asks has failed itself: a watch must not go on blind."""
        for task in self._background:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise InstrumentError(f"what asks has failed: {type(error).__name__}: {error}") from error

    async def _beat(self) -> None:
        while True:
            self.looks.note()
            await asyncio.sleep(_BEAT_S)

    async def _send_all(self) -> None:
        with Timer() as timer:
            await self._send_on_time(timer)

    async def _send_on_time(self, timer: Timer) -> None:
        now_ns = time.monotonic_ns()
        askers = [asked for asked in self._asked if asks(asked.asker)]
        # Spread over their period, so that many checks are not asked at one moment.
        schedule = [
            (now_ns + round(1e9 / asked.check.rate_per_s * position / len(askers)), position)
            for position, asked in enumerate(askers)
        ]
        heapq.heapify(schedule)
        sent = 0
        while schedule:
            due_ns, position = schedule[0]
            now_ns = time.monotonic_ns()
            if due_ns > now_ns:
                await timer.until(due_ns)
                sent = 0
                continue
            asked = askers[position]
            heapq.heapreplace(schedule, (due_ns + round(1e9 / asked.check.rate_per_s), position))
            if now_ns - due_ns > MOST_LATE_NS:
                asked.log.note(due_ns, now_ns, now_ns, NOT_SENT, words="more than a second late")
            else:
                self._put(asked, due_ns)
            sent += 1
            if sent % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _put(self, asked: _Asked, due_ns: int) -> None:
        self._numbers += 1
        asked.log.open[self._numbers] = due_ns, due_ns
        task = asyncio.get_running_loop().create_task(self._ask(asked, self._numbers, due_ns))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, asked: _Asked, number: int, due_ns: int) -> None:
        assert asks(asked.asker)
        sent_ns = time.monotonic_ns()
        asked.log.open[number] = due_ns, sent_ns
        outcome, address, words = "good", "", ""
        try:
            async with asyncio.timeout(asked.check.timeout_s):
                answer = await asked.asker.ask()
            ended_ns, address = answer.answered_ns, answer.address
        except Exception as error:
            ended_ns = time.monotonic_ns()
            outcome, words = _told(error)
        del asked.log.open[number]
        asked.log.note(due_ns, sent_ns, ended_ns, outcome, address, words)

    async def _keep_listening(self, asked: _Asked) -> None:
        """Connects, hears, and connects again when the connection is lost."""
        while True:
            due_ns = time.monotonic_ns()
            outcome, words = await self._listen(asked, due_ns)
            if outcome is not None:
                asked.log.note(due_ns, due_ns, time.monotonic_ns(), outcome, words=words)
            else:
                asked.log.note_lost(time.monotonic_ns())
            wait_s = 1 / asked.check.rate_per_s - (time.monotonic_ns() - due_ns) / 1e9
            await asyncio.sleep(max(0.0, wait_s))

    async def _listen(self, asked: _Asked, due_ns: int) -> tuple[str | None, str]:
        """One connection to its end: how it failed; None where it had been good."""
        log, playing = asked.log, False
        timeout = asyncio.timeout(asked.check.timeout_s)

        def heard(now_ns: int) -> None:
            nonlocal playing
            if not playing:
                playing = True
                log.note(due_ns, due_ns, now_ns, "good")
            else:
                log.note(now_ns, now_ns, now_ns, "heard")
            # Silence for longer than that counts as a lost connection.
            timeout.reschedule(asyncio.get_running_loop().time() + asked.check.timeout_s)

        assert not asks(asked.asker)
        try:
            async with timeout:
                await asked.asker.listen(heard)
        except Exception as error:
            outcome, words = _told(error)
            if not playing:
                return outcome, words
            log.words["lost"] = words
        return None, ""

    def films(self) -> dict[int, pl.DataFrame]:
        """What streams have brought, by the check's position."""
        listeners = ((position, asked.asker) for position, asked in enumerate(self._asked) if not asks(asked.asker))
        films = ((position, listener.film(position)) for position, listener in listeners)
        return {position: film for position, film in films if film is not None}

    async def stop(self, enough: asyncio.Event) -> None:
        """Asks no more; late answers are waited for as long as each check does, or until it is ``enough``. Then it leaves."""
        for task in self._background:
            task.cancel()
        for task in self._background:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._wait_for_late(enough)
        self._counting = False
        for asked in self._asked:
            asked.log.note_open()
            # What is cancelled below says nothing any more.
            asked.log = CheckLog()
        await self._leave()

    async def _wait_for_late(self, enough: asyncio.Event) -> None:
        called = asyncio.create_task(enough.wait())
        while self._tasks and not called.done():
            # Each ends with its answer, or when its time is up.
            await asyncio.wait([*self._tasks, called], return_when=asyncio.FIRST_COMPLETED)
        called.cancel()

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        for asked in self._asked:
            with contextlib.suppress(Exception):
                await asked.asker.close()


def asks(asker: Asker | Listener) -> TypeIs[Asker]:
    """Whether it asks, and does not listen."""
    return hasattr(asker, "ask")


async def _first_answer(asker: Asker | Listener) -> None:
    if asks(asker):
        await asker.ask()
        return
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(_: int) -> None:
        if not first.done():
            first.set_result(None)

    listening: Awaitable[None] = asker.listen(heard)
    task = asyncio.ensure_future(listening)
    try:
        await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            await task
    finally:
        task.cancel()


def _told(error: Exception) -> tuple[str, str]:
    failure = failure_of(error)
    return (NOT_SENT, str(failure)) if isinstance(failure, NotSent) else (failure.failure, failure.words)
