"""How a move ended, from what the technique says and from where the guest runs; on fake hosts."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable

import pytest

from tests.fakes import GUEST, FakeHost, FakeJournal, FakeTechnique
from whimbrel.errors import EngineError, MoveError, RefusedError, ReservationError, UnsafeStateError, UsageError
from whimbrel.hosts.host import GuestState
from whimbrel.migrate import carry_out as carry_out_module
from whimbrel.migrate import verify
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import MigrationSpec


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))


class Pair:
    def __init__(self) -> None:
        self.a, self.b = FakeHost("a"), FakeHost("b")
        self.a.guests[GUEST.uuid] = "runs"

    def leave(self, at_a: GuestState, at_b: GuestState) -> Callable[[MoveRequest], str]:
        def trouble(_: MoveRequest) -> str:
            self.a.guests[GUEST.uuid], self.b.guests[GUEST.uuid] = at_a, at_b
            return "the cable came off"

        return trouble

    def move(
        self,
        trouble: Callable[[MoveRequest], str | EngineError | None] = lambda _: None,
        memory_bytes: int = 2**20,
        ended: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        request = MoveRequest(GUEST, self.a, self.b, memory_bytes, 2**20, MigrationSpec(), ended=ended)
        return carry_out(FakeTechnique([self.a, self.b], trouble), request, FakeJournal(), lambda: "pre-copy")


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_move_that_went_well(pair: Pair) -> None:
    ending = pair.move()
    assert (ending.result, ending.runs_on, ending.error) == ("moved", ["b"], None)


def test_a_failure_names_the_phase_the_evidence_and_what_to_do(pair: Pair) -> None:
    ending = pair.move(pair.leave("runs", "absent"))
    assert (ending.result, ending.runs_on) == ("failed", ["a"])
    assert isinstance(ending.error, MoveError)
    assert "phase pre-copy; the guest runs on host a\nthe cable came off\nWhat to do: " in str(ending.error)


def test_what_counts_is_where_the_guest_runs(pair: Pair) -> None:
    assert pair.move(pair.leave("absent", "runs")).result == "moved"


@pytest.mark.parametrize(
    ("at_a", "at_b", "runs_on", "said"),
    [
        ("absent", "absent", [], "runs on no host: no copy is left"),
        ("runs", "runs", ["a", "b"], "runs on a and b"),
        ("stands still", "absent", [], "runs on no host; a copy stands still on a"),
        ("stands still", "runs", ["b"], "runs on b; a copy stands still on a"),
    ],
)
def test_none_or_two_copies_are_unsafe(pair: Pair, at_a: GuestState, at_b: GuestState, runs_on: list[str], said: str) -> None:
    ending = pair.move(pair.leave(at_a, at_b))
    assert (ending.result, ending.runs_on) == ("unsafe", runs_on)
    assert isinstance(ending.error, UnsafeStateError)
    assert said in ending.error.brief
    assert ending.error.resolution


def test_a_silent_host_is_unsafe_and_a_dead_one_is_not(pair: Pair) -> None:
    def silence(_: MoveRequest) -> str:
        pair.b.silent = True
        return "no answer"

    ending = pair.move(silence)
    assert ending.result == "unsafe"
    assert "it is unknown where guest runs" in str(ending.error)
    pair.b.dead = True
    ending = pair.move(lambda _: "no answer")
    assert ending.result == "failed"
    assert "host b has died; no answer" in str(ending.error)


def test_a_host_without_room_is_said_as_it_is(pair: Pair) -> None:
    ending = pair.move(memory_bytes=2**60)
    assert (ending.result, ending.runs_on) == ("failed", ["a"])
    assert isinstance(ending.error, ReservationError)


def test_a_guest_that_is_not_there_cannot_move(pair: Pair) -> None:
    pair.a.guests[GUEST.uuid] = "stands still"
    assert pair.move().result == "unsafe"


def test_a_move_that_has_not_come_to_its_end_is_unsafe_wherever_it_runs(pair: Pair) -> None:
    def trouble(_: MoveRequest) -> str:
        raise UnsafeStateError("it was told to power off, and still may", resolution="wait")

    ending = pair.move(trouble)
    assert (ending.result, ending.runs_on) == ("unsafe", ["a"])
    assert "still may" in str(ending.error)


def test_a_full_disk_under_the_journal_is_a_failure_with_a_known_end(pair: Pair) -> None:
    def full(_: MoveRequest) -> str:
        raise OSError(28, "No space left on device")

    ending = pair.move(full)
    assert (ending.result, ending.runs_on) == ("failed", ["a"])
    assert "No space left on device" in str(ending.error)


def test_ctrl_c_that_a_failing_clean_up_replaces_stays_ctrl_c(pair: Pair) -> None:
    def trouble(_: MoveRequest) -> str:
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        pair.move(trouble)


SAME_HOST = "internal error: Attempt to migrate guest to the same host 0de7af23"
QEMU_LOG = """\
2000-01-01 00:00:00.000+0000: starting up libvirt version: 11.3.0
LC_ALL=C \\
/usr/bin/qemu-system-x86_64
2000-01-01T00:00:01.000000Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory
{stamp}: starting up libvirt version: 11.3.0
LC_ALL=C \\
/usr/bin/qemu-system-x86_64
{words}
"""


def refused(words: str, number: int, origin: int) -> RefusedError:
    return RefusedError("libvirt could not move guest to qemu+tcp://b/system", details=words, number=number, part=origin)


def test_a_known_failure_says_its_cause_and_its_cure_and_keeps_what_libvirt_said(pair: Pair) -> None:
    ending = pair.move(lambda _: refused(SAME_HOST, 1, 10))
    assert ending.error is not None
    first, why, said, what = str(ending.error).split("\n")
    assert first == "the move failed in the phase pre-copy; the guest runs on host a"
    assert why == "Why: source and destination are one host for libvirt: they have the same host UUID"
    assert said == f"libvirt could not move guest to qemu+tcp://b/system: {SAME_HOST}"
    assert what.startswith("What to do: compare 'virsh -c URI capabilities' of both")
    assert ending.known == "same-host"


def test_an_unknown_failure_says_what_libvirt_said_and_nothing_that_we_made_up(pair: Pair) -> None:
    ending = pair.move(lambda _: refused("internal error: the moon is full", 1, 10))
    assert str(ending.error) == (
        "the move failed in the phase pre-copy; the guest runs on host a\n"
        "libvirt could not move guest to qemu+tcp://b/system: internal error: the moon is full\n"
        "What to do: nothing is lost: remove the cause and move it again;"
        " QEMU's log may say more: /var/log/libvirt/qemu/guest.log on host b"
    )
    assert ending.known is None


def log_now(words: str) -> str:
    return QEMU_LOG.format(stamp=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+0000"), words=words)


def test_qemus_log_at_the_destination_says_why_where_libvirt_only_knows_that_the_connection_broke(pair: Pair) -> None:
    words = "2026-11-29T09:02:38.927561Z qemu-system-x86_64: Size mismatch: pc.ram: 0x4000000 != 0x6000000: Invalid argument"

    def trouble(_: MoveRequest) -> RefusedError:
        pair.b.told["b-guest.log"] = log_now(words)
        return refused("operation failed: job 'migration out' failed: Channel error: Input/output error", 9, 10)

    ending = pair.move(trouble)
    assert ending.known == "ram-differs"
    assert f"QEMU's log on host b: {words}\nlibvirt could not move" in str(ending.error)
    # The evidence is of this move: what QEMU said of an earlier one is not in it.
    assert "cannot set up guest memory" not in str(ending.error)


def test_what_an_earlier_start_left_in_the_log_is_no_evidence(pair: Pair) -> None:
    pair.b.told["b-guest.log"] = log_now("qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory")
    ending = pair.move(lambda _: refused(SAME_HOST, 1, 10))
    assert ending.known == "same-host"
    assert "QEMU's log" not in str(ending.error)


def test_an_unsafe_end_keeps_its_own_advice_and_says_the_cause(pair: Pair) -> None:
    def trouble(request: MoveRequest) -> RefusedError:
        pair.leave("stands still", "absent")(request)
        return refused("internal error: client socket is closed", 1, 7)

    ending = pair.move(trouble)
    assert isinstance(ending.error, UnsafeStateError)
    assert ending.error.cause.startswith("the source's libvirt lost the destination's")
    assert ending.error.resolution.startswith("'virsh resume' lets it go on, once the logs")


def test_nothing_is_moved_between_one_host_and_itself(pair: Pair) -> None:
    pair.b.machine = pair.a.machine
    with pytest.raises(UsageError, match="hosts a and b are one host, server-a") as caught:
        pair.move(lambda _: pytest.fail("it was moved"))
    assert "stop nothing" in caught.value.resolution


class Impatient:
    """A technique that ends its own move, as at a time-out."""

    name = "impatient"
    moves = "vm"

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        called_ns = journal.mark("move called")
        journal.mark("abort", why="not done after 5 s")
        said = refused("operation aborted: job 'migration out' canceled by client", 78, 10)
        return MoveReport(called_ns, journal.note("move returned"), "aborted", said, 0, 0, None)


def test_an_aborted_move_that_ends_unsafe_blames_nobody_else_either(pair: Pair) -> None:
    request = MoveRequest(GUEST, pair.a, pair.b, 2**20, 2**20, MigrationSpec())
    pair.leave("stands still", "absent")(request)
    ending = carry_out(Impatient(), request, FakeJournal(), lambda: "pre-copy")
    assert isinstance(ending.error, UnsafeStateError)
    assert (ending.error.cause, ending.known) == ("whimbrel aborted it: not done after 5 s", None)


def test_what_whimbrel_has_aborted_nobody_else_is_blamed_for(pair: Pair) -> None:
    request = MoveRequest(GUEST, pair.a, pair.b, 2**20, 2**20, MigrationSpec())
    ending = carry_out(Impatient(), request, FakeJournal(), lambda: "pre-copy")
    assert (ending.result, ending.known) == ("aborted", None)
    assert str(ending.error) == (
        "the move aborted in the phase pre-copy; the guest runs on host a\n"
        "Why: whimbrel aborted it: not done after 5 s\n"
        "libvirt could not move guest to qemu+tcp://b/system\noperation aborted: job 'migration out' canceled by client\n"
        "What to do: nothing is lost: remove the cause and move it again"
    )


def test_a_guest_that_ended_by_itself_is_not_waited_for_and_its_end_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 60.0)
    ended: list[str] = []

    def end(request: MoveRequest) -> str:
        ended.append("the guest guest panicked, on host a")
        assert request.why_abort == ended[0]
        return pair.leave("absent", "absent")(request)

    began_s = time.monotonic()
    ending = pair.move(end, ended=lambda: ended[0] if ended else None)
    assert time.monotonic() - began_s < 30
    assert (ending.result, ending.runs_on) == ("unsafe", [])
    assert isinstance(ending.error, UnsafeStateError)
    assert ending.error.brief == "in the phase pre-copy of its move the guest guest panicked, on host a; no copy is left"
    assert ending.error.details == "the cable came off"


def test_a_qemu_that_is_just_going_is_no_copy(pair: Pair) -> None:
    """libvirt says that a guest runs until its QEMU has gone."""

    def end(request: MoveRequest) -> str:
        threading.Timer(0.3, pair.a.guests.clear).start()
        return "domain is not running"

    ending = pair.move(end, ended=lambda: "the guest guest shut down, on host a")
    assert (ending.result, ending.runs_on) == ("unsafe", [])


def test_an_end_that_is_heard_of_late_is_named_too(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 60.0)
    monkeypatch.setattr(verify, "GOING_S", 0.1)
    heard = iter([None, None])
    began_s = time.monotonic()
    ending = pair.move(pair.leave("absent", "absent"), ended=lambda: next(heard, "the guest guest was lost, on host a"))
    assert time.monotonic() - began_s < 30
    assert (ending.result, ending.runs_on) == ("unsafe", [])
    assert ending.error is not None
    assert ending.error.brief == "in the phase pre-copy of its move the guest guest was lost, on host a; no copy is left"


def test_nothing_is_called_lost_of_which_a_copy_stands_still(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry_out_module, "GOING_S", 0.1)
    monkeypatch.setattr(verify, "GOING_S", 0.1)
    ending = pair.move(pair.leave("stands still", "absent"), ended=lambda: "the guest guest was ended, on host b")
    assert isinstance(ending.error, UnsafeStateError)
    assert "runs on no host; a copy stands still on a" in ending.error.brief
    assert "the guest guest was ended, on host b" in ending.error.details
    assert "from its disk" not in ending.error.resolution
