"""What is waited for after the switch: memory that comes, however long it takes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import GUEST, FakeDomain, FakeHost, FakeJournal
from whimbrel.migrate import live
from whimbrel.migrate.journal import WrittenJournal
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.migration import MigrationSpec


class Job(FakeDomain):
    """A guest whose job says how far it has come; None when its libvirt falls silent."""

    def __init__(self, *moved_bytes: int | None) -> None:
        super().__init__(job={})
        self._moved_bytes = list(moved_bytes)

    def job_stats(self) -> dict[str, int] | None:
        moved = self._moved_bytes.pop(0)
        self.silent = moved is None
        self.job = {"memory_processed": moved} if moved is not None else None
        return super().job_stats()


@pytest.mark.parametrize(
    ("moved_bytes", "stuck"),
    [((5, 9, 12), [False, False, False]), ((5, 9, 9), [False, False, True]), ((5, None, None), [False, True, True])],
)
def test_a_move_is_stuck_when_nothing_came_for_long(moved_bytes: tuple[int | None, ...], stuck: list[bool]) -> None:
    job: Any = Job(*moved_bytes)
    request = MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec())
    attempt = live._Attempt(job, request, FakeJournal(), job)
    patience_s = live._LAST_PATIENCE_S
    # In between nobody is asked.
    assert not attempt._is_stuck(patience_s)
    assert [attempt._is_stuck((patience_s + 1) * look) for look in (1, 2, 3)] == stuck


class Busy(Job):
    """A guest whose libvirt takes the order to switch when it is given for the third time."""

    def __init__(self) -> None:
        super().__init__(5)

    def start_post_copy(self) -> None:
        self.busy = self.orders < 2
        super().start_post_copy()


def test_a_switch_that_libvirt_refuses_is_ordered_again_and_nothing_counts_as_gone_until_then() -> None:
    job: Any = Busy()
    journal = FakeJournal()
    request = MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec(technique="post-copy"))
    attempt = live._Attempt(job, request, journal, job)
    may_abort = []
    for elapsed_s in (1.0, 1.1, 1.2):
        attempt._switch("post-copy", elapsed_s)
        may_abort.append(attempt._may_abort)
    assert may_abort == [True, True, False]
    assert [name for _, name, _ in journal.marks] == ["post-copy"]


class Slow(Job):
    """A guest whose libvirt takes its time to take an order, or to refuse it."""

    def __init__(self, refused: bool) -> None:
        super().__init__(*[5] * 1000)
        self.answer = threading.Event()
        self.refused = refused

    def start_post_copy(self) -> None:
        assert self.answer.wait(10)
        self.busy = self.refused
        try:
            super().start_post_copy()
        finally:
            self.busy = False


@pytest.mark.parametrize("refused", [True, False])
def test_after_ctrl_c_the_answer_to_the_order_decides_what_becomes_of_the_move(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = Slow(refused)
    request = MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec(technique="post-copy"))
    attempt = live._Attempt(job, request, FakeJournal(), job)
    join = threading.Thread.join
    joins = 0

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        nonlocal joins
        joins += 1
        if joins == 1:
            raise KeyboardInterrupt
        job.answer.set()
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attempt._switch("post-copy", 1.0)
    monkeypatch.setattr(live, "_ABORT_PATIENCE_S", 0.2)
    monkeypatch.setattr(live, "_LAST_PATIENCE_S", 0.0)
    attempt._see_it_out()
    assert joins == 2
    assert (job.aborts > 0) == refused


def test_a_full_disk_under_the_journal_does_not_stop_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    job: Any = Slow(refused=False)
    journal = FakeJournal()
    monkeypatch.setattr(live, "_ABORT_PATIENCE_S", 0.2)

    def full(name: str, **data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "mark", full)
    attempt = live._Attempt(job, MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec()), journal, job)
    with pytest.raises(OSError, match="No space left"):
        attempt._abort("it was asked for")
    # Said again and again, as libvirt may have no job yet.
    assert job.aborts > 1


class Standing(Job):
    """A guest that was stopped for its last memory, which does not come through; an abort ends the move."""

    def __init__(self) -> None:
        super().__init__(*[5] * 1000)
        self.ended = threading.Event()
        self.may_pause_ms: list[int] = []

    def set_max_downtime_ms(self, milliseconds: int) -> None:
        self.may_pause_ms.append(milliseconds)

    def abort_job(self) -> None:
        super().abort_job()
        self.ended.set()


def test_the_time_out_ends_a_move_that_stands_still_for_want_of_rounds() -> None:
    job: Any = Standing()
    journal = FakeJournal()
    spec = MigrationSpec.model_validate({"max_rounds": 1, "timeout": "300 ms", "on_timeout": "abort"})
    attempt = live._Attempt(job, MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, spec), journal, job)
    attempt._ended = job.ended
    attempt._rounds = 2
    attempt._watch()
    assert [name for _, name, _ in journal.marks] == ["pause limit", "stop and copy", "abort"]
    assert job.may_pause_ms[-1] == live._ANY_DOWNTIME_MS


@pytest.mark.parametrize("trouble", ["silent", "there", "busy"])
def test_an_abort_that_is_answered_with_no_or_not_at_all_is_said_again_until_the_move_ends(trouble: str) -> None:
    guest = FakeDomain(job={"memory_processed": 5})
    setattr(guest, trouble, trouble != "there")
    domain: Any = guest
    request = MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec())
    attempt = live._Attempt(domain, request, FakeJournal(), domain)
    threading.Timer(0.2, attempt._ended.set).start()
    attempt._abort("it was asked for")
    assert attempt.result == "moved"


class Moving(Job):
    """A guest that moves at once."""

    def migrate(self, options: object) -> None:
        return None


def test_a_full_journal_does_not_lose_when_the_move_returned() -> None:
    job: Any = Moving()
    beside = FakeJournal()
    beside.mark("earlier")
    request = MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec())
    attempt = live._Attempt(job, request, WrittenJournal(Path("/dev/full"), beside), job)
    attempt._call()
    assert attempt.returned_ns == 1
    assert attempt.result == "moved"
