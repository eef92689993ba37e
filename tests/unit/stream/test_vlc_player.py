"""What is told to a VLC, and what is said of it: opened, shown, lost and opened again, at the end of its film."""

from __future__ import annotations

import os
import time
from typing import Any, cast

import pytest

from tests.unit.stream.test_vlc_remote import IDLE, PLAYING
from whimbrel.stream.vlc_player import VlcViewer, command_of
from whimbrel.stream.vlc_remote import QUESTION
from whimbrel.system.child import Child
from whimbrel.system.process import Running

URL = "rtmp://192.0.2.1/film/film.flv"
OPEN = b"add rtmp://192.0.2.1/film/film.flv\n"


class FakeVlc:
    """Takes what it is told, as ``system.process.Running`` does."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def tell(self, data: bytes) -> None:
        self.told.append(data)


class FakeChild:
    """Keeps what is said, as ``system.child.Child`` writes it."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def say(self, what: str, **details: Any) -> None:
        self.said.append({"say": what, **details})

    @property
    def words(self) -> list[str]:
        return [line["say"] for line in self.said]


def viewer_of(child: FakeChild, length_s: float = 60.0) -> VlcViewer:
    return VlcViewer(1, URL, length_s, cast("Child", child))


def ask(viewer: VlcViewer, vlc: FakeVlc, now_s: float | None = None) -> None:
    viewer.ask(cast("Running", vlc), time.monotonic() if now_s is None else now_s)


def test_the_next_question_waits_for_the_last_answer() -> None:
    child, vlc = FakeChild(), FakeVlc()
    viewer = viewer_of(child)
    ask(viewer, vlc)
    ask(viewer, vlc)
    assert vlc.told == [OPEN, QUESTION]
    viewer.hear(PLAYING)
    ask(viewer, vlc)
    assert vlc.told == [OPEN, QUESTION, QUESTION]
    assert child.words == ["connecting", "playing"]
    [row] = viewer.rows
    assert (row[0], row[1], *row[3:]) == (1, 0, 39, 2, 116, 3)


def test_a_stream_that_ends_is_opened_again_after_a_while() -> None:
    child, vlc = FakeChild(), FakeVlc()
    viewer = viewer_of(child)
    ask(viewer, vlc)
    viewer.hear(PLAYING)
    ask(viewer, vlc)
    viewer.hear(IDLE)
    assert child.words == ["connecting", "playing", "lost"]
    assert child.said[-1]["reason"] == "VLC says that the stream has ended"
    ask(viewer, vlc)
    assert vlc.told.count(OPEN) == 1
    ask(viewer, vlc, time.monotonic() + 1)
    assert vlc.told.count(OPEN) == 2
    assert child.said[-1] | {"t_ns": 0} == {"say": "connecting", "viewer": 1, "connection": 1, "t_ns": 0}


def test_the_end_of_the_film_is_no_loss() -> None:
    child, vlc = FakeChild(), FakeVlc()
    viewer = viewer_of(child, length_s=3.0)
    ask(viewer, vlc)
    viewer.hear(PLAYING)
    ask(viewer, vlc)
    viewer.hear(IDLE)
    assert child.words == ["connecting", "playing", "film ended"]
    ask(viewer, vlc, time.monotonic() + 60)
    assert vlc.told.count(OPEN) == 1


def test_one_that_was_just_told_to_open_the_stream_may_still_be_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    child, vlc = FakeChild(), FakeVlc()
    viewer = viewer_of(child)
    ask(viewer, vlc)
    viewer.hear(IDLE)
    assert child.words == ["connecting"]
    later_ns = time.monotonic_ns() + 2_000_000_000
    monkeypatch.setattr(time, "monotonic_ns", lambda: later_ns)
    viewer.hear(IDLE)
    assert child.words == ["connecting", "lost"]
    assert "cannot open the stream" in child.said[-1]["reason"]


def test_vlc_is_nobody_and_is_told_what_to_hold() -> None:
    command = command_of(1.5)
    assert "--avio-options={rtmp_buffer=1500}" in command
    assert (command[0] == "setpriv") == (os.geteuid() == 0)
