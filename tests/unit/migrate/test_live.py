"""What is waited for after the switch: memory that comes, however long it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeHost, FakeJournal
from whimbrel.errors import EngineError
from whimbrel.migrate import live
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.migration import MigrationSpec


class Job:
    """A guest whose job says how far it has come, and the connection that it is seen through."""

    def __init__(self, *moved_bytes: int | None) -> None:
        self._moved_bytes = list(moved_bytes)

    def job_stats(self) -> dict[str, int]:
        moved = self._moved_bytes.pop(0)
        if moved is None:
            raise EngineError("libvirt does not answer")
        return {"memory_processed": moved}

    def on_monitor_event(self, told: object) -> None:
        return None


@pytest.mark.parametrize(
    ("moved_bytes", "stuck"),
    [((5, 9, 12), [False, False, False]), ((5, 9, 9), [False, False, True]), ((5, None, None), [False, True, True])],
)
def test_a_move_is_stuck_when_nothing_came_for_long(moved_bytes: tuple[int | None, ...], stuck: list[bool]) -> None:
    job: Any = Job(*moved_bytes)
    request = MoveRequest("guest", FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec())
    attempt = live._Attempt(job, request, FakeJournal(), job)
    patience_s = live._LAST_PATIENCE_S
    # In between nobody is asked.
    assert not attempt._is_stuck(patience_s)
    assert [attempt._is_stuck((patience_s + 1) * look) for look in (1, 2, 3)] == stuck


class Busy(Job):
    """A guest whose libvirt takes the order to switch when it is given for the third time."""

    def __init__(self) -> None:
        super().__init__()
        self.orders = 0

    def start_post_copy(self) -> None:
        self.orders += 1
        if self.orders < 3:
            raise EngineError("another job holds the lock")


def test_a_switch_that_libvirt_refuses_is_ordered_again_and_nothing_counts_as_gone_until_then() -> None:
    job: Any = Busy()
    journal = FakeJournal()
    request = MoveRequest("guest", FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec(technique="post-copy"))
    attempt = live._Attempt(job, request, journal, job)
    may_abort = []
    for elapsed_s in (1.0, 1.1, 1.2):
        attempt._switch("post-copy", elapsed_s)
        may_abort.append(attempt._may_abort)
    assert may_abort == [True, True, False]
    assert [name for _, name, _ in journal.marks] == ["post-copy"]
