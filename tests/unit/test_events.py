"""The bus: everybody gets everything in order, and nobody can hold up whoever publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from whimbrel.events import STEP, Bus, Published, Sample
from whimbrel.records.trial import Event


def sample(number: int) -> Sample:
    return Sample("job", number, {"transferred_bytes": number})


def names(news: Sequence[Published]) -> list[str]:
    return [each.name if isinstance(each, Event) else each.source for each in news]


def test_every_observer_gets_everything_in_order() -> None:
    first: list[Published] = []
    second: list[Published] = []
    with Bus() as bus:
        bus.subscribe("first", first.extend)
        bus.subscribe("second", second.extend)
        for number in range(1000):
            bus.publish(sample(number))
        bus.step("moving")
    assert first == second
    assert [each.t_ns for each in first if isinstance(each, Sample)] == list(range(1000))
    last = first[-1]
    assert isinstance(last, Event)
    assert (last.source, last.name, last.data) == ("whimbrel", STEP, {"text": "moving"})
    assert bus.complaints == []


def test_what_many_threads_publish_arrives_once_each() -> None:
    got: list[Published] = []
    with Bus() as bus:
        bus.subscribe("page", got.extend)

        def publish(first: int) -> None:
            for number in range(first, first + 500):
                bus.publish(sample(number))

        threads = [threading.Thread(target=publish, args=(first,)) for first in range(0, 2000, 500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(each.t_ns for each in got if isinstance(each, Sample)) == list(range(2000))


def test_an_observer_without_samples_is_not_woken_for_them() -> None:
    got: list[Published] = []
    with Bus() as bus:
        bus.subscribe("terminal", got.extend, samples=False)
        assert not bus.wants_samples
        bus.publish(sample(1))
        bus.tell("move called")
        bus.subscribe("page", lambda news: None)
        assert bus.wants_samples
    assert names(got) == ["move called"]


def test_one_that_stands_still_holds_up_nobody_and_what_it_missed_is_counted() -> None:
    stand = threading.Event()
    entered = threading.Event()
    got: list[Published] = []

    def still(news: Sequence[Published]) -> None:
        entered.set()
        stand.wait(30)

    bus = Bus(patience_s=0.2)
    bus.subscribe("page", still, most=100)
    bus.subscribe("file", got.extend)
    bus.tell("first")
    assert entered.wait(10)
    for number in range(200):
        bus.publish(sample(number))
    for _ in range(80):
        bus.tell("event")
    began_s = time.monotonic()
    bus.close()
    assert time.monotonic() - began_s < 5
    # Of 100 places samples get half: 150 of them are dropped, 30 events, and at the end what still waited, or was in hand.
    assert bus.complaints == ["the page missed 281 of 281 events and samples: it stood still"]
    assert len(got) == 281
    stand.set()


def test_samples_lose_their_room_before_events_do() -> None:
    stand, entered = threading.Event(), threading.Event()
    got: list[Published] = []

    def slow(news: Sequence[Published]) -> None:
        entered.set()
        stand.wait(30)
        got.extend(news)

    with Bus() as bus:
        bus.subscribe("page", slow, most=100)
        bus.tell("first")
        assert entered.wait(10)
        for number in range(200):
            bus.publish(sample(number))
        for number in range(50):
            bus.tell(f"event {number}")
        stand.set()
    assert names(got) == ["first", *["job"] * 50, *(f"event {number}" for number in range(50))]
    assert bus.complaints == ["the page missed 150 of 251 events and samples: it was too slow"]


def test_one_that_fails_is_not_called_again_and_disturbs_nobody() -> None:
    calls: list[int] = []
    got: list[Published] = []

    def failing(news: Sequence[Published]) -> None:
        calls.append(len(news))
        raise OSError("no room")

    with Bus() as bus:
        bus.subscribe("page", failing)
        bus.subscribe("file", got.extend)
        bus.tell("first")
        deadline_s = time.monotonic() + 10
        while not calls and time.monotonic() < deadline_s:
            time.sleep(0.01)
        bus.tell("second")
    assert calls == [1]
    assert names(got) == ["first", "second"]
    assert bus.complaints == ["the page missed 2 of 2 events and samples: it failed (OSError: no room)"]
