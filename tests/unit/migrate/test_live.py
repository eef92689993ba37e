"""A live move beside its libvirt: orders, aborts, Ctrl-C, a full disk."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import GUEST, FakeDisk, FakeDomain, FakeHost, FakeJournal
from whimbrel.engines.domain import Domain
from whimbrel.engines.events import qemu_event
from whimbrel.engines.hypervisor import Abilities, GuestMove, MoveOptions
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ReservationError, UnsafeStateError
from whimbrel.hosts.site import DiskFacts
from whimbrel.migrate import attempt as attempts
from whimbrel.migrate import course
from whimbrel.migrate.attempt import Attempt
from whimbrel.migrate.call import MoveCall
from whimbrel.migrate.journal import WrittenJournal
from whimbrel.migrate.live import LiveMove, options_of
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.spec.migration import MigrationSpec


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ABORT_PATIENCE_S", 0.3)


def request(spec: MigrationSpec, told_to_abort: Callable[[], bool] = lambda: False) -> MoveRequest:
    return MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**20, 2**20, spec, told_to_abort=told_to_abort)


def attempt_at(
    guest: Any, journal: Journal, told_to_abort: Callable[[], bool] = lambda: False, begun: int = 1, **spec: object
) -> Attempt:
    """One whose guest has begun so many passes over its memory."""
    asked = request(MigrationSpec.model_validate(spec), told_to_abort)
    found = Attempt(guest, asked, lambda: options_of(asked), journal)
    found.on_event(qemu_event(GUEST.name, "MIGRATION_PASS", 0, 0, {"pass": begun}))
    return found


class Busy(FakeDomain):
    """Its libvirt takes the order to switch when it is given for the third time; then the move ends well."""

    def start_post_copy(self) -> None:
        self.busy = self.orders < 2
        super().start_post_copy()
        self.arrive()


def test_a_switch_that_libvirt_refuses_is_ordered_again_and_written_down_once() -> None:
    guest, journal = Busy(), FakeJournal()
    attempt = attempt_at(guest, journal, technique="post-copy")
    attempt.run()
    assert (attempt.result, guest.orders) == ("moved", 3)
    assert [name for _, name, _ in journal.marks] == ["post-copy", "move returned"]


class Interrupted(FakeDomain):
    """Ctrl-C comes while its libvirt thinks about the order, which it then takes or refuses."""

    def __init__(self, refused: bool) -> None:
        super().__init__()
        self.refused = refused

    def start_post_copy(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        # Long enough for Ctrl-C to be heard first.
        threading.Event().wait(0.2)
        self.busy = self.refused
        try:
            super().start_post_copy()
        finally:
            self.busy = False
        threading.Timer(0.3, self.arrive).start()


@pytest.mark.parametrize(("refused", "result"), [(True, "aborted"), (False, "moved")])
def test_after_ctrl_c_the_answer_to_the_order_decides_what_becomes_of_the_move(refused: bool, result: str) -> None:
    guest = Interrupted(refused)
    attempt = attempt_at(guest, FakeJournal(), technique="post-copy")
    with pytest.raises(KeyboardInterrupt):
        attempt.run()
    assert (attempt.result, guest.orders, guest.aborts) == (result, 1, int(refused))


class Deaf(FakeDomain):
    """Nothing ends its move."""

    def abort(self) -> None:
        self.orders += 1


class Full(FakeJournal):
    """What must be written down cannot be; what is only noted is lost."""

    def mark(self, name: str, **data: object) -> int:
        raise OSError(28, "No space left on device")

    def note(self, name: str, **data: object) -> int:
        return 1


def test_a_full_disk_under_the_journal_does_not_stop_an_abort() -> None:
    guest, journal = Deaf(), Full()
    with pytest.raises(UnsafeStateError, match="does not end") as failed:
        attempt_at(guest, journal, lambda: True).run()
    guest.arrive()
    assert "No space left" in str(failed.value.__context__)
    # Said again and again, as libvirt may have no job yet.
    assert guest.orders > 1


def test_the_time_out_ends_a_move_that_stands_still_for_want_of_rounds() -> None:
    guest, journal = FakeDomain(), FakeJournal()
    attempt = attempt_at(guest, journal, begun=2, max_rounds=1, timeout="300 ms", on_timeout="abort")
    attempt.run()
    assert attempt.result == "aborted"
    assert [name for _, name, _ in journal.marks] == ["stop and copy", "abort", "move returned"]
    assert guest.may_pause_ms == [300, attempts.ANY_DOWNTIME_MS]


class Silenced(FakeDomain):
    """Its libvirt falls silent once memory follows."""

    def start_post_copy(self) -> None:
        super().start_post_copy()
        threading.Timer(0.1, setattr, (self, "silent", True)).start()


@pytest.mark.parametrize("guest", [FakeDomain(), Silenced()], ids=["stuck", "silent"])
def test_a_guest_whose_memory_no_longer_comes_is_given_up_on(guest: FakeDomain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libvirt that does not answer once gave it another ten minutes each time."""
    monkeypatch.setattr(course, "LAST_PATIENCE_S", 0.3)
    journal = FakeJournal()
    with pytest.raises(UnsafeStateError, match="does not end"):
        attempt_at(guest, journal, technique="post-copy").run()
    guest.arrive()
    assert [name for _, name, _ in journal.marks][:2] == ["post-copy", "abort"]
    assert "no longer gets on" in journal.marks[1][2]["why"]


@pytest.mark.parametrize("trouble", ["silent", "there", "busy"])
def test_an_abort_that_is_answered_with_no_or_not_at_all_is_said_again_until_the_move_ends(trouble: str) -> None:
    guest = FakeDomain()

    def told_to_abort() -> bool:
        setattr(guest, trouble, trouble != "there")
        threading.Timer(0.2, guest.arrive).start()
        return True

    attempt = attempt_at(guest, FakeJournal(), told_to_abort)
    attempt.run()
    assert attempt.result == "moved"


class Moving(FakeDomain):
    """A guest that moves at once."""

    def migrate(self, options: MoveOptions) -> None:
        return None


def test_a_full_journal_does_not_lose_when_the_move_returned() -> None:
    beside = FakeJournal()
    beside.mark("earlier")
    guest: Any = Moving()
    call = MoveCall(guest, lambda: options_of(request(MigrationSpec())), WrittenJournal(Path("/dev/full"), beside))
    call.start()
    assert call.ended.wait(10)
    assert (call.returned_ns, call.error) == (1, None)


def test_options_that_cannot_be_found_out_end_the_move() -> None:
    def broken() -> MoveOptions:
        raise ZeroDivisionError("a fault of ours")

    guest: Any = FakeDomain()
    call = MoveCall(guest, broken, FakeJournal())
    call.start()
    assert call.ended.wait(10)
    assert "a fault of ours" in str(call.error)


def test_the_fake_offers_what_a_move_asks_of_a_guest() -> None:
    # mypy holds both to the signatures.
    real: type[GuestMove] = Domain
    fake: GuestMove = FakeDomain()
    asked = {name for name in vars(GuestMove) if not name.startswith("_")}
    assert {"migrate", "abort", "progress", "start_post_copy"} < asked
    assert asked <= set(dir(real)) & set(dir(fake))


@pytest.mark.parametrize(
    ("able", "spec", "said"),
    [
        (Abilities(frozenset({"pre-copy"}), True, True), {"technique": "post-copy"}, "the technique post-copy"),
        (Abilities(frozenset({"pre-copy"}), False, True), {"storage": "full"}, "moving a disk along"),
    ],
)
def test_a_move_that_a_hypervisor_does_not_have_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, able: Abilities, spec: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    guest = FakeDomain()
    source = SimpleNamespace(abilities=able, find=lambda uuid: guest)
    monkeypatch.setattr(Connection, "open", lambda uri: contextlib.nullcontext(source))
    disks = (FakeDisk(DiskFacts(2**20, 2**20, None, None)), FakeDisk(None)) if "storage" in spec else None
    asked = replace(request(MigrationSpec.model_validate(spec)), disks=disks)
    with pytest.raises(ReservationError, match=f"host a cannot do this: {said}") as caught:
        LiveMove("pre-copy").move(asked, FakeJournal())
    assert caught.value.resolution == "nothing was moved; its techniques are: pre-copy"
    assert guest.job is None
