"""A container's files are a phase of their own, before its memory."""

from __future__ import annotations

from whimbrel.analysis.phases import STORAGE, Moment, container_files_bytes, container_phases, phase_reached
from whimbrel.records.trial import Event

_SAID = [
    ("whimbrel", None, "move called", 0.0),
    ("carrier", "a", "connected", 1.0),
    ("carrier", "b", "ahead: 30720 bytes", 1.4),
    ("carrier", "a", "files ahead", 1.5),
    ("carrier", "a", "round 1", 2.0),
    ("carrier", "a", "frozen", 3.0),
    ("carrier", "b", "restored", 3.5),
    ("carrier", "b", "files: 10240 bytes", 3.6),
]


def _moments(words: int) -> list[Moment]:
    found = []
    for source, host, name, at_s in _SAID[:words]:
        t_ns = round(at_s * 1e9)
        found.append(Moment(Event(source=source, host=host, name=name, realtime_ns=None, seen_ns=t_ns, data={}), t_ns))
    return found


def test_files_go_between_reservation_and_memory() -> None:
    lengths = {phase.name: phase.length_s for phase in container_phases(_moments(8), "a", "b", None)}
    assert list(lengths)[:4] == ["reservation", STORAGE, "pre-copy", "stop-and-copy"]
    assert (lengths[STORAGE], lengths["pre-copy"], lengths["stop-and-copy"]) == (0.5, 1.0, 0.5)


def test_both_archives_count() -> None:
    assert container_files_bytes(_moments(8), "b") == 40960
    assert container_files_bytes(_moments(2), "b") is None


def test_a_move_that_fails_meanwhile_is_said_to_be_there() -> None:
    assert phase_reached([moment.event for moment in _moments(2)], "a", "b") == STORAGE
    assert phase_reached([moment.event for moment in _moments(5)], "a", "b") == "pre-copy"
