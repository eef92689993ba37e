"""Two share what is to be made: each thing is made once, and neither waits while there is something else to make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from whimbrel.errors import GuestError
from whimbrel.images.jobs import Job, make_all, missing
from whimbrel.images.store import BeingMadeError, ImageStore

_LONG_S = 30


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))


def job(store: ImageStore, name: str, make: Callable[[], object] = lambda: None) -> Job:
    def ensure() -> Path:
        return store.ensure_named(name, {}, name, lambda out, _: put(out, make()))

    def put(out: Path, content: object) -> None:
        (out / "content").write_text(str(content))

    return Job(name, f"the image {name}", ensure)


def test_two_make_different_things_at_the_same_time() -> None:
    met = threading.Barrier(2)
    made: list[str] = []

    def meet(name: str) -> None:
        # Passed only while both are in the middle of making something.
        met.wait(_LONG_S)
        made.append(name)

    def share() -> None:
        store = ImageStore()
        jobs = [job(store, name, lambda name=name: meet(name)) for name in ("one", "two", "three", "four")]  # type: ignore[misc]
        make_all(jobs, store, lambda text: None)
        assert missing(jobs, store) == []

    other = threading.Thread(target=share)
    other.start()
    share()
    other.join(_LONG_S)
    assert sorted(made) == ["four", "one", "three", "two"]


def test_what_another_one_makes_is_passed_over_and_said_to_be_waited_for_once() -> None:
    theirs, ours = ImageStore(), ImageStore()
    begun, let_go = threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        assert let_go.wait(_LONG_S)

    other = threading.Thread(target=job(theirs, "slow", long).make)
    other.start()
    assert begun.wait(_LONG_S)
    slow = job(ours, "slow", lambda: pytest.fail("it was made twice"))
    with pytest.raises(BeingMadeError), ours.passing_over():
        slow.make()
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        assert ours.holds("quick")
        let_go.set()

    make_all([slow, job(ours, "quick")], ours, hear)
    other.join(_LONG_S)
    assert told == ["waiting for the image slow, which is being made beside"]


def test_what_fails_is_raised_by_who_answers_for_it_and_left_by_who_helps() -> None:
    def fail() -> None:
        raise GuestError("it did not boot")

    store = ImageStore()
    jobs = [job(store, "bad", fail), job(store, "good")]
    failed: list[str] = []
    make_all(jobs, store, lambda text: None, lambda which, error: failed.append(f"{which.what}: {error}"))
    assert failed == ["the image bad: it did not boot"]
    assert store.holds("good")
    assert not (store.folder / "bad.partial").exists()
    with pytest.raises(GuestError, match="it did not boot"):
        make_all(jobs, store, lambda text: None)


def test_jobs_of_one_name_are_one() -> None:
    store = ImageStore()
    assert [each.name for each in missing([job(store, "a"), job(store, "b"), job(store, "a")], store)] == ["a", "b"]


def test_an_interrupt_that_clearing_up_has_turned_into_a_failure_ends_all() -> None:
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise GuestError("it cannot be ended")

    store = ImageStore()
    left: list[str] = []
    jobs = [job(store, "first", interrupted), job(store, "second")]
    with pytest.raises(GuestError, match="it cannot be ended"):
        make_all(jobs, store, lambda text: None, lambda which, error: left.append(which.name))
    assert left == []
    assert not store.holds("second")
