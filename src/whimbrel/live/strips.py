"""Strips: of each viewer, of the probe and of each check, when it had what it wanted and when it had not. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whimbrel.events import Sample
from whimbrel.records.trial import Event

# An instrument tells five times a second; HLS viewers get segments of some seconds.
_SILENT_AFTER_NS = {"probe": 300_000_000, "player": 400_000_000, "hls player": 8_000_000_000}
# Whose viewers, as they are called here.
PLAYERS = {"player": "viewer", "hls player": "HLS viewer", "vlc player": "VLC viewer"}
_MOST_PARTS = 400
_MOST_STRIPS = 200


class Strips:
    """Each strip is a list of parts [from, to, state], in time; states are ``good``, ``silent`` and ``failed``."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self._parts: dict[str, list[list[Any]]] = {}
        self._left_out = 0

    def shown(self) -> dict[str, Any]:
        """All strips by name, and how many there was no room for."""
        return {"strips": self._parts, "left_out": self._left_out}

    def take_sample(self, sample: Sample) -> None:
        """A reading of the probe, of players or of checks."""
        values, t_ns = sample.values, sample.t_ns
        if sample.source == "probe":
            self._heard("probe", t_ns, values["last_answer_ns"], _SILENT_AFTER_NS["probe"])
        elif sample.source in PLAYERS:
            for number, arrived_ns in zip(values["viewer"], values["arrived_ns"], strict=True):
                self._heard(f"{PLAYERS[sample.source]} {number}", t_ns, arrived_ns, _SILENT_AFTER_NS[sample.source])
        elif sample.source == "checks":
            for name, state in values["states"].items():
                self._extend(name, t_ns, state)

    def take_event(self, event: Event) -> None:
        """A viewer has lost its connection, or plays again."""
        if event.name == "lost":
            self._extend(f"{PLAYERS[event.source]} {event.data.get('viewer')}", event.seen_ns, "failed")

    def _heard(self, name: str, t_ns: int, last_ns: int | None, silent_after_ns: int) -> None:
        if last_ns is None:
            self._extend(name, t_ns, "silent")
        elif t_ns - last_ns > silent_after_ns:
            # It has been silent since its last word, also where it was taken for good a moment longer.
            parts, last = self._parts.get(name, []), self._seconds(last_ns)
            if parts and parts[-1][2] == "good" and parts[-1][0] < last < parts[-1][1]:
                parts[-1][1] = last
            self._extend(name, t_ns, "silent")
        else:
            self._extend(name, t_ns, "good")

    def _extend(self, name: str, t_ns: int, state: str) -> None:
        if name not in self._parts and len(self._parts) >= _MOST_STRIPS:
            self._left_out += 1
            return
        parts, t = self._parts.setdefault(name, []), self._seconds(t_ns)
        last = parts[-1] if parts else None
        if last is not None and (last[2] == state or t <= last[1]):
            last[1] = max(last[1], t)
            return
        parts.append([last[1] if last is not None else t, t, state])
        del parts[:-_MOST_PARTS]
