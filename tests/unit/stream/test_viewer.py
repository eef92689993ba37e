"""A viewer against a server of our own on a loopback socket: what counts as lost, and what does not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.stream.test_rtmp import HANDSHAKE, delta, message, picture
from whimbrel.stream import amf, packets, player
from whimbrel.stream.player import Viewer, play
from whimbrel.system.child import Looks

PING = message(2, 4, 0, struct.pack(">HI", 6, 77))
READ_S, OPEN_S = 1.0, 0.4


class Told:
    """What a player's process hears and says."""

    def __init__(self, for_s: float) -> None:
        self._until_s = time.monotonic() + for_s
        self.said: list[dict[str, Any]] = []

    @property
    def stopping(self) -> bool:
        return time.monotonic() > self._until_s

    def say(self, what: str, **details: Any) -> None:
        self.said.append({"say": what, **details})


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def watch(
    server: socket.socket,
    pieces: list[bytes],
    every_s: float,
    for_s: float,
    monkeypatch: pytest.MonkeyPatch,
    closes: bool = False,
) -> Told:
    """A viewer who is sent these pieces on its first connection, and then the last one over and over, unless that is closed."""
    monkeypatch.setattr(player, "READ_S", READ_S)
    monkeypatch.setattr(player, "OPEN_S", OPEN_S)
    told = Told(for_s)

    def serve() -> None:
        taken, _ = server.accept()
        with taken:
            for piece in pieces:
                taken.sendall(piece)
            if closes:
                taken.shutdown(socket.SHUT_WR)
            while not told.stopping:
                time.sleep(every_s)
                if closes:
                    continue
                try:
                    taken.sendall(pieces[-1] if pieces else b"")
                except OSError:
                    return

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    viewer = Viewer(1, f"rtmp://127.0.0.1:{server.getsockname()[1]}/film/film.flv", 3.0, 45.0, told)  # type: ignore[arg-type]
    play([viewer], told, Looks(1.0))  # type: ignore[arg-type]
    serving.join(5)
    return told


def lost(told: Told) -> list[str]:
    return [line["reason"] for line in told.said if line["say"] == "lost"]


def test_pings_alone_keep_no_viewer_alive(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    told = watch(listening, [HANDSHAKE + message(6, 9, 5, picture(60)), PING], 0.1, 1.8, monkeypatch)
    assert [line["say"] for line in told.said][:3] == ["connecting", "playing", "lost"]
    assert lost(told)[0] == "no media for 1 s"


def test_a_viewer_who_gets_media_is_not_lost(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    told = watch(listening, [HANDSHAKE + message(6, 9, 5, picture(60)), delta(6, 1, 40, picture(60))], 0.3, 1.8, monkeypatch)
    assert lost(told) == []


def test_a_server_that_never_answers_is_given_up(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    told = watch(listening, [], 0.1, 2.0, monkeypatch)
    assert lost(told)[0] == "no answer for 0 s when asked to shake hands"


def test_a_server_that_plays_nothing_is_given_up(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    told = watch(listening, [HANDSHAKE, PING], 0.1, 1.8, monkeypatch)
    assert lost(told)[0] == "no media for 1 s when asked for application film"


def test_a_server_that_refuses_is_quoted(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    why: dict[str, amf.Value] = {"level": "error", "code": "NetStream.Play.StreamNotFound", "description": "No such film"}
    told = watch(listening, [HANDSHAKE + message(5, 20, 0, amf.encode("onStatus", 0.0, None, why))], 0.1, 2.0, monkeypatch)
    assert lost(told)[0] == "the server refused to play film/film.flv: NetStream.Play.StreamNotFound, No such film"


def test_a_server_that_closes_is_said_with_what_it_was_asked(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    yes = message(3, 20, 0, amf.encode("_result", 1.0, None, {"code": "NetConnection.Connect.Success"}))
    told = watch(listening, [HANDSHAKE + yes], 0.1, 2.0, monkeypatch, closes=True)
    assert lost(told)[0] == "the server closed the connection when asked for a stream"


def test_answers_that_a_server_does_not_take_are_bounded(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "MOST_TO_SEND_BYTES", 4096)
    # It never reads; what the kernel holds for it is full at some point.
    told = watch(listening, [HANDSHAKE, PING * 20_000], 0.001, 3.0, monkeypatch)
    assert "the server asks for answers and does not take them" in lost(told)


def test_more_packets_than_any_film_has_are_refused(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "MOST_ROWS", 3)
    told = watch(listening, [HANDSHAKE + message(6, 9, 5, picture(60)), delta(6, 1, 40, picture(60))], 0.05, 1.0, monkeypatch)
    assert lost(told)[0] == "the server has sent more than 3 packets: this is no film"


def test_nobody_at_the_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    told = Told(0.3)
    play([Viewer(1, f"rtmp://127.0.0.1:{port}/film/film.flv", 3.0, 45.0, told)], told, Looks(1.0))  # type: ignore[arg-type]
    assert lost(told)[0] == "Connection refused"
