"""A disk that moves along: what is booked for it, what is made for it, and that no copy is left over; on fake disks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes import GUEST, FakeDisk, FakeHost, FakeJournal, FakeTechnique
from whimbrel.errors import MoveError, ReservationError, ToolError
from whimbrel.hosts.host import GuestState
from whimbrel.hosts.site import DiskFacts
from whimbrel.migrate import recover as recovering
from whimbrel.migrate import verify
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.recovery import Intention, Situation, Step
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, make_room, send
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.migration import MigrationSpec, StorageName

FACTS = DiskFacts(3 * 2**30, 40 * 2**20, "/srv/images/disk.raw", "raw")


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))


class Pair:
    def __init__(self) -> None:
        self.a, self.b = FakeHost("a"), FakeHost("b")
        self.a.guests[GUEST.uuid] = "runs"
        self.at_a, self.at_b = FakeDisk(FACTS), FakeDisk(None)

    def request(self, storage: StorageName) -> MoveRequest:
        return MoveRequest(GUEST, self.a, self.b, 2**20, 2**20, MigrationSpec(storage=storage), disks=(self.at_a, self.at_b))

    def move(self, storage: StorageName, trouble: Callable[[MoveRequest], str | None] = lambda _: None) -> Ending:
        request = self.request(storage)
        return carry_out(FakeTechnique([self.a, self.b], trouble), request, FakeJournal(), lambda: "storage")

    def leave(self, at_a: GuestState, at_b: GuestState) -> Callable[[MoveRequest], str]:
        def trouble(_: MoveRequest) -> str:
            self.a.guests[GUEST.uuid], self.b.guests[GUEST.uuid] = at_a, at_b
            return "the cable came off"

        return trouble


class Interrupted:
    """Both sides of a move that was interrupted, on fake hosts; implements ``migrate.recover.Sides``."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def look(self) -> Situation:
        return Situation(self._pair.a.state_of(GUEST), self._pair.b.state_of(GUEST))

    def take(self, step: Step) -> None:
        assert step == "boot"
        self._pair.a.guests[GUEST.uuid] = "runs"

    def clear(self) -> None:
        return None


@pytest.fixture
def pair() -> Pair:
    return Pair()


def recover(pair: Pair, request: MoveRequest, intention: Intention, made_disk: bool) -> str:
    return recovering.recover(Interrupted(pair), request, intention, lambda _: None, made_disk=made_disk, look_every_s=0.0)


@pytest.mark.parametrize(("storage", "booked_bytes"), [("shared", 2**20), ("full", 3 * 2**30), ("incremental", 40 * 2**20)])
def test_what_is_booked_is_what_may_be_written(pair: Pair, storage: StorageName, booked_bytes: int) -> None:
    request = pair.request(storage)
    assert disk_to_book_bytes(request, disk_to_move(request)) == booked_bytes


@pytest.mark.parametrize(("storage", "over"), [("full", None), ("incremental", "/srv/images/disk.raw")])
def test_room_is_made_as_large_and_over_the_same_image_or_over_none(pair: Pair, storage: StorageName, over: str | None) -> None:
    request = pair.request(storage)
    make_room(request, disk_to_move(request), FakeJournal())
    made = pair.at_b.facts()
    assert (made.size_bytes, made.held_bytes, made.backing) == (FACTS.size_bytes, 0, over)


def test_a_shared_disk_is_left_alone(pair: Pair) -> None:
    assert pair.move("shared").result == "moved"
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, None)


@pytest.mark.parametrize("storage", ["full", "incremental"])
def test_one_copy_is_left_where_the_guest_is(pair: Pair, storage: StorageName) -> None:
    assert pair.move(storage).result == "moved"
    assert pair.at_a.image is None
    assert pair.at_b.image is not None


def test_after_a_failure_the_copy_that_was_begun_is_removed(pair: Pair) -> None:
    assert pair.move("full", pair.leave("runs", "absent")).result == "failed"
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, None)


def test_where_the_guest_runs_decides_and_not_what_was_said(pair: Pair) -> None:
    assert pair.move("full", pair.leave("absent", "runs")).result == "moved"
    assert pair.at_a.image is None
    assert pair.at_b.image is not None


@pytest.mark.parametrize(("at_a", "at_b"), [("absent", "absent"), ("runs", "runs"), ("stands still", "runs")])
def test_nothing_is_removed_while_it_is_not_certain(pair: Pair, at_a: GuestState, at_b: GuestState) -> None:
    assert pair.move("full", pair.leave(at_a, at_b)).result == "unsafe"
    assert pair.at_a.image is not None
    assert pair.at_b.image is not None


def test_an_image_that_cannot_be_made_stops_the_move_before_it_begins(pair: Pair) -> None:
    pair.at_b.trouble = ToolError("qemu-img failed")
    request = pair.request("full")
    with pytest.raises(ReservationError, match="host b could not make an image") as caught:
        make_room(request, disk_to_move(request), FakeJournal())
    assert "qemu-img failed" in str(caught.value)


@pytest.mark.parametrize("storage", ["full", "incremental"])
def test_a_disk_of_a_guest_that_is_off_is_copied(pair: Pair, storage: StorageName) -> None:
    request, journal = pair.request(storage), FakeJournal()
    make_room(request, disk_to_move(request), FakeJournal())
    send(request, journal, lambda: None)
    assert pair.at_b.facts().held_bytes == FACTS.held_bytes
    assert [(name, data) for _, name, data in journal.marks] == [
        ("disk copy begun", {}),
        ("disk copied", {"held_bytes": FACTS.held_bytes}),
    ]


def test_a_disk_that_was_not_copied_is_not_served_any_longer(pair: Pair) -> None:
    request, journal = pair.request("full"), FakeJournal()
    make_room(request, disk_to_move(request), FakeJournal())
    pair.at_b.trouble = ToolError("qemu-img failed")
    with pytest.raises(ToolError):
        send(request, journal, lambda: None)
    assert not pair.at_a.open
    assert [name for _, name, _ in journal.marks] == ["disk copy begun"]


def test_a_disk_that_is_unwanted_while_it_is_copied_is_not_served_any_longer(pair: Pair) -> None:
    def stop_if_unwanted() -> None:
        assert pair.at_a.open
        raise MoveError("it was asked for")

    request, journal = pair.request("full"), FakeJournal()
    make_room(request, disk_to_move(request), FakeJournal())
    with pytest.raises(MoveError, match="it was asked for"):
        send(request, journal, stop_if_unwanted)
    assert not pair.at_a.open
    assert [name for _, name, _ in journal.marks] == ["disk copy begun"]


def test_a_disk_that_moves_must_be_known(pair: Pair) -> None:
    request = MoveRequest(GUEST, pair.a, pair.b, 2**20, 2**20, MigrationSpec(storage="full"))
    with pytest.raises(MoveError, match="not known where the disk"):
        disk_to_move(request)


def test_recovering_removes_the_copy_that_an_interrupted_move_had_begun(pair: Pair) -> None:
    request = pair.request("full")
    make_room(request, disk_to_move(request), FakeJournal())
    assert recover(pair, request, Intention(), made_disk=True) == "a"
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, None)


@pytest.mark.parametrize(("intention", "kept"), [(Intention(boot_anew=True), True), (Intention(between=True), False)])
def test_recovering_keeps_both_disks_when_either_may_be_the_newest(pair: Pair, intention: Intention, kept: bool) -> None:
    # Of one that was only shut down its own is the newest; what was started anew may be older than what lies on the other host.
    request = pair.request("full")
    make_room(request, disk_to_move(request), FakeJournal())
    del pair.a.guests[GUEST.uuid]
    assert recover(pair, request, intention, made_disk=True) == "a"
    assert pair.at_a.image is not None
    assert (pair.at_b.image is not None) == kept


def test_a_later_recovery_keeps_both_disks_as_well(pair: Pair) -> None:
    request = pair.request("full")
    make_room(request, disk_to_move(request), FakeJournal())
    assert recover(pair, request, Intention(booted=True), made_disk=True) == "a"
    assert pair.at_b.image is not None


# What a recovery has left on B, as it may be the newest.
KEPT = DiskFacts(3 * 2**30, 99 * 2**20, "/srv/images/disk.raw", "raw")


@pytest.mark.parametrize("room_bytes", [2**40, 2**20])
def test_a_refused_move_leaves_an_image_that_it_did_not_make(pair: Pair, room_bytes: int) -> None:
    # Refused for want of room, or for the image itself, which a move would write over.
    pair.b = FakeHost("b", memory_bytes=room_bytes)
    pair.at_b.image = KEPT
    ending = pair.move("full")
    assert (ending.result, ending.runs_on) == ("failed", ["a"])
    assert isinstance(ending.error, ReservationError)
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, KEPT)


def test_an_image_that_is_there_already_is_named_with_what_to_do(pair: Pair) -> None:
    pair.at_b.image = KEPT
    assert "host b already has an image" in str(pair.move("incremental").error)
    assert "/srv/own/guest.qcow2 on host b" in str(pair.move("incremental").error)


def test_a_move_that_never_was_leaves_both_images_wherever_the_guest_runs(pair: Pair) -> None:
    # Somebody else has started it on B meanwhile: which image is the newest is not for this move to say.
    pair.at_b.image = KEPT
    pair.a.guests[GUEST.uuid], pair.b.guests[GUEST.uuid] = "absent", "runs"
    assert pair.move("full").runs_on == ["b"]
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, KEPT)


def test_recovering_leaves_an_image_that_the_interrupted_move_did_not_make(pair: Pair) -> None:
    pair.at_b.image = KEPT
    assert recover(pair, pair.request("full"), Intention(), made_disk=False) == "a"
    assert (pair.at_a.image, pair.at_b.image) == (FACTS, KEPT)
