"""What is said of viewers that never played, from what they told."""

from __future__ import annotations

from typing import Any

from whimbrel.moves.instruments import refusals

NO_FILM = "the server refused to play film/film.flv: NetStream.Play.StreamNotFound, Video on demand stream not found"


def line(say: str, viewer: int, **more: Any) -> dict[str, Any]:
    return {"say": say, "viewer": viewer, "t_ns": 1, **more}


def test_what_each_viewer_met_with_last_is_counted() -> None:
    said = [
        {"say": "ready"},
        *(line("lost", viewer, reason="Connection refused") for viewer in (1, 2, 3, 4)),
        line("playing", 1),
        line("lost", 2, reason=NO_FILM),
        line("failed", 3, reason=NO_FILM),
    ]
    assert refusals(said, 5) == [
        f"2 of 5 viewers never played: {NO_FILM}",
        "1 of 5 viewers never played: Connection refused",
        "1 of 5 viewers never played: no answer yet",
    ]


def test_of_viewers_that_play_nothing_is_said() -> None:
    assert refusals([line("lost", 1, reason="x"), line("playing", 1), line("lost", 1, reason="y")], 1) == []
