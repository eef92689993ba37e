"""While time passes, an instrument that ends or a host that dies ends the trial; what viewers told becomes events."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fakes import FakeHost
from whimbrel.errors import InstrumentError, TrialError
from whimbrel.moves.instruments import play, said_by, watch
from whimbrel.records.trial import Event
from whimbrel.services.client import CLIENTS, Client


class Told:
    """An instrument that says these lines at once, and may have ended."""

    def __init__(self, *lines: dict[str, Any], ended: bool = False, name: str = "player") -> None:
        self.name = name
        self.said = list(lines)
        self._ended = ended

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def check(self) -> None:
        if self._ended:
            raise InstrumentError("the probe ended in the middle")

    def wait_for(self, true: Any, what: str, timeout_s: float) -> None:
        if not true(self.said):
            raise InstrumentError(f"waited for the player {what}", details="last said: nothing")


def test_time_passes_where_all_is_well() -> None:
    running: Any = [Told()]
    began_s = time.monotonic()
    watch(0.05, running, [FakeHost("a")])
    assert time.monotonic() - began_s >= 0.05


def test_an_instrument_that_ended_is_not_watched_with() -> None:
    running: Any = [Told(), Told(ended=True)]
    with pytest.raises(InstrumentError, match="the probe ended in the middle"):
        watch(60, running)


def test_a_host_that_dies_meanwhile_ends_it() -> None:
    host = FakeHost("b")
    host.dead = True
    with pytest.raises(TrialError, match="host b died while it was watched"):
        watch(60, [], [FakeHost("a"), host])


def test_what_viewers_told_is_in_the_record_with_its_time_and_number() -> None:
    player: Any = Told(
        {"say": "ready"}, {"say": "playing", "viewer": 1, "t_ns": 5}, {"say": "lost", "viewer": 1, "t_ns": 9, "reason": "x"}
    )
    hls: Any = Told({"say": "playing", "viewer": 1, "t_ns": 7}, name="hls player")
    # It has nothing to tell of viewers.
    probe: Any = Told({"say": "cost", "t_ns": 8}, name="probe")
    assert said_by([probe, player, hls]) == [
        Event(source="player", host=None, name="playing", realtime_ns=None, seen_ns=5, data={"viewer": 1}),
        Event(source="player", host=None, name="lost", realtime_ns=None, seen_ns=9, data={"viewer": 1, "reason": "x"}),
        Event(source="hls player", host=None, name="playing", realtime_ns=None, seen_ns=7, data={"viewer": 1}),
    ]
    assert said_by([probe]) == []


@pytest.mark.parametrize("client", CLIENTS.values(), ids=list(CLIENTS))
def test_nothing_is_lost_of_what_any_kind_of_client_told(client: Client) -> None:
    player: Any = Told({"say": "playing", "viewer": 1, "t_ns": 5}, name=client.instrument)
    [event] = said_by([player])
    assert (event.source, event.name, event.seen_ns, event.data) == (client.instrument, "playing", 5, {"viewer": 1})


def test_a_player_is_ready_once_every_viewer_plays() -> None:
    both: Any = Told({"say": "playing", "viewer": 1, "t_ns": 5}, {"say": "playing", "viewer": 2, "t_ns": 6})
    one: Any = Told({"say": "playing", "viewer": 1, "t_ns": 5}, {"say": "lost", "viewer": 2, "t_ns": 6, "reason": "refused"})
    with ExitStack() as holding:
        assert play(both, 2, holding) is both
        with pytest.raises(InstrumentError) as caught:
            play(one, 2, holding)
    assert caught.value.details == "1 of 2 viewers never played: refused\nlast said: nothing"
