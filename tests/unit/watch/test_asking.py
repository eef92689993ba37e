"""The open loop, against what never answers, answers late, or cannot be asked at all."""

from __future__ import annotations

import asyncio
import errno
import shlex
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from whimbrel.checks.check import Answer, Failed, Tools
from whimbrel.checks.url import parse_check
from whimbrel.errors import InstrumentError
from whimbrel.events import WATCHED, Bus, Published
from whimbrel.records.trial import Event
from whimbrel.system.timer import Timer
from whimbrel.trace_parent import TraceParent
from whimbrel.watch import asking as module
from whimbrel.watch.asking import Asking
from whimbrel.watch.log import CheckLog, whole_frame
from whimbrel.watch.plan import WatchPlan
from whimbrel.watch.watching import watch


class Service:
    """What asks, as a test says; it counts who waits."""

    def __init__(self, takes_s: float = 0.0, error: BaseException | None = None) -> None:
        self.takes_s, self.error = takes_s, error
        self.tools: Tools | None = None
        self.waiting = self.most_waiting = 0
        self.closed = False

    async def ask(self) -> Answer:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error
        return Answer(time.monotonic_ns(), "10.0.0.1")

    async def close(self) -> None:
        self.closed = True


class Stream:
    """What listens: hears something so often, for so long."""

    def __init__(self, every_s: float, times: int) -> None:
        self.every_s, self.times = every_s, times

    async def listen(self, heard: Callable[[int], None]) -> None:
        for _ in range(self.times):
            await asyncio.sleep(self.every_s)
            heard(time.monotonic_ns())
        raise EOFError

    def film(self, position: int) -> None:
        pass

    async def close(self) -> None:
        pass


def asked(
    monkeypatch: pytest.MonkeyPatch, services: Sequence[object], options: str, for_s: float, wait: bool = True
) -> list[CheckLog]:
    given = iter(services)
    monkeypatch.setattr(module, "open_check", lambda check, tools: next(given))
    checks = [parse_check(f"http://a.example/#{number},{options}") for number in range(len(services))]

    async def go() -> list[CheckLog]:
        asking = Asking(checks)
        asking.start()
        await asyncio.sleep(for_s)
        enough = asyncio.Event()
        if not wait:
            enough.set()
        await asking.stop(enough)
        asking.check_alive()
        return asking.logs

    return asyncio.run(go())


def test_questions_are_sent_whatever_became_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(takes_s=60)
    [log] = asked(monkeypatch, [service], "rate=100,timeout=500ms", 1.0)
    assert 90 <= log.counts["timed-out"] + log.counts["not-sent"] <= 102
    # Half a second of questions waits at any time.
    assert service.most_waiting >= 45
    assert service.closed
    spacing_ns = log.frame(0)["due_ns"].sort().diff().drop_nulls()
    assert ((spacing_ns % 10_000_000) == 0).all()


def test_late_answers_are_late_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    [log] = asked(monkeypatch, [Service(takes_s=0.6)], "rate=50,timeout=30s", 0.5)
    assert set(log.counts) <= {"good", "not-sent"}
    assert log.counts["good"] >= 20
    frame = log.frame(0).filter(log.frame(0)["outcome"] == "good")
    assert (frame["ended_ns"] - frame["due_ns"]).min() >= 600_000_000  # type: ignore[operator]
    assert frame["address"].unique().to_list() == ["10.0.0.1"]


def test_when_it_is_enough_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    began_s = time.monotonic()
    [log] = asked(monkeypatch, [Service(takes_s=600)], "rate=50,timeout=10min", 0.5, wait=False)
    assert time.monotonic() - began_s < 20
    assert set(log.counts) <= {"open", "not-sent"}
    assert log.frame(0).filter(log.frame(0)["outcome"] == "open")["ended_ns"].is_null().all()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), "refused"),
        (Failed("wrong-answer", "status 500"), "wrong-answer"),
        (OSError(errno.EMFILE, ""), "not-sent"),
        (RuntimeError("a fault of ours"), "other"),
    ],
)
def test_how_questions_end(monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str) -> None:
    [log] = asked(monkeypatch, [Service(error=error)], "rate=50", 0.3)
    assert set(log.counts) <= {outcome, "not-sent"}
    assert log.counts[outcome] >= 5
    assert log.words[outcome]


def test_a_stream_is_connected_to_again_when_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    [log] = asked(monkeypatch, [Stream(0.01, 10)], "rate=4", 1.0)
    connected = log.counts["good"]
    assert connected >= 2
    assert log.counts["lost"] in (connected, connected - 1)
    assert 9 * (connected - 1) <= log.counts["heard"] <= 9 * connected


def test_a_stream_that_never_comes_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    [log] = asked(monkeypatch, [Stream(60, 1)], "rate=10,timeout=100ms", 0.6)
    assert set(log.counts) == {"timed-out"}


def test_many_checks_are_spread_over_their_period(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = asked(monkeypatch, [Service() for _ in range(10)], "rate=1", 0.5)
    due_ns = sorted(whole_frame(logs)["due_ns"].to_list())
    assert all(later - earlier == 100_000_000 for earlier, later in pairwise(due_ns))


def test_a_watch_does_not_go_on_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks has failed itself: the watch fails, and says how the command had ended."""

    class BrokenTimer(Timer):
        async def until(self, moment_ns: int) -> None:
            await asyncio.sleep(0.5)
            raise RuntimeError("a fault of ours")

    monkeypatch.setattr(module, "Timer", BrokenTimer)
    monkeypatch.setattr(module, "open_check", lambda check, tools: Service())
    plan = WatchPlan((parse_check("http://a.example/"),), ("sh", "-c", "sleep 1; exit 4"), before_s=0.1, after_s=0.1)
    with pytest.raises(InstrumentError) as error:
        watch(plan, lambda words: None)
    assert "a fault of ours" in str(error.value)
    assert "the command had ended with 4" in str(error.value)


def test_a_command_is_told_of_on_the_bus_and_knows_its_span(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "open_check", lambda check, tools: Service())
    span = TraceParent.new()
    file = tmp_path / "given"
    command = ("sh", "-c", f"echo $TRACEPARENT >{shlex.quote(str(file))}; sleep 0.2; exit 4")
    plan = WatchPlan((parse_check("http://a.example/"),), command, before_s=0.1, after_s=0.1, new_span=lambda: span)
    told: list[Published] = []
    with Bus() as bus:
        bus.subscribe("test", told.extend)
        [watched] = watch(plan, lambda words: None, bus)
    assert file.read_text().strip() == str(span)
    begun, called, returned = [each for each in told if isinstance(each, Event)]
    assert (begun.name, begun.data) == (WATCHED, {"source": None, "destination": None, "traceparent": str(span)})
    assert watched.ran is not None
    assert (called.name, called.seen_ns) == ("move called", watched.ran.started_ns)
    assert (returned.name, returned.seen_ns, returned.data) == ("move returned", watched.ran.ended_ns, {"exit_code": 4})
