"""Links whose rate is not one number: it changes with time, or several guests share it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from whimbrel.errors import UsageError
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import NEVER_S, Passage, Prediction, as_prediction, go_round, predict


@dataclass(frozen=True)
class ChangingLink:
    """A link whose rate changes in steps: (seconds since the move began, bytes/s), the first from 0 s on, ascending."""

    steps: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [from_s for from_s, _ in self.steps]
        if not times or times[0] != 0 or times != sorted(set(times)):
            raise UsageError("the steps of a link must begin at 0 s and follow one another")
        if any(not (rate >= 0 and math.isfinite(rate)) for _, rate in self.steps):
            raise UsageError("a link's rate cannot be negative, infinite or no number")

    def send_s(self, elapsed_s: float, size_bytes: float) -> float:
        """How long ``size_bytes`` take from ``elapsed_s`` on; infinity when the link ends at rate 0."""
        now_s, left_bytes = elapsed_s, size_bytes
        for number in range(bisect_right([from_s for from_s, _ in self.steps], elapsed_s) - 1, len(self.steps)):
            rate = self.steps[number][1]
            until_s = self.steps[number + 1][0] if number + 1 < len(self.steps) else math.inf
            if rate > 0 and left_bytes <= rate * (until_s - now_s):
                return now_s + left_bytes / rate - elapsed_s
            if rate > 0:
                left_bytes -= rate * (until_s - now_s)
            now_s = until_s
        return math.inf


def predict_on_changing_link(curve: DirtyCurve, link: ChangingLink, pause_limit_s: float) -> Prediction:
    """A pre-copy move over a link whose rate changes: the rounds of ``rounds.predict``, each at what the link then gives.

    Source: the same model, with the integral of the rate over a round in place of B times its length.
    """
    passage = go_round(curve.first_round_bytes, lambda last_s, _: curve.bytes(last_s), link.send_s, pause_limit_s)
    return as_prediction(passage, link.steps[0][1], pause_limit_s)


def one_after_another(curves: Sequence[DirtyCurve], bandwidth_bytes_per_s: float, pause_limit_s: float) -> list[Prediction]:
    """Several guests over one link, each when the one before it has gone; totals count from each one's own start."""
    return [predict(curve, bandwidth_bytes_per_s, pause_limit_s) for curve in curves]


@dataclass
class _Sending:
    """A guest on a shared link: what its round still has to send, and since when."""

    curve: DirtyCurve
    left_bytes: float
    began_s: float = 0.0
    sent_bytes: float = 0.0
    lengths_s: list[float] = field(default_factory=list)
    done: bool = False


def all_at_once(
    curves: Sequence[DirtyCurve], bandwidth_bytes_per_s: float, pause_limit_s: float, never_s: float = NEVER_S
) -> list[Prediction]:
    """Several guests over one link at the same time: each that still sends has an equal share of it.

    Source: processor sharing (Kleinrock, Queueing Systems II, 1976), as TCP streams of equal round-trip time do it. What
    one guest waits for the others makes its rounds longer, and so dirtier: this is why one after another usually wins.
    """
    guests = [_Sending(curve, curve.first_round_bytes) for curve in curves]
    now_s = 0.0
    while (active := [guest for guest in guests if not guest.done]) and now_s <= never_s:
        share = bandwidth_bytes_per_s / len(active)
        step_s = min(guest.left_bytes for guest in active) / share
        now_s += step_s
        for guest in active:
            guest.left_bytes -= share * step_s
            guest.sent_bytes += share * step_s
            if guest.left_bytes <= 1e-6 * guest.curve.page_cost_bytes:
                _end_round(guest, now_s, pause_limit_s)
    return [
        as_prediction(Passage(tuple(guest.lengths_s), guest.sent_bytes) if guest.done else None,
                      bandwidth_bytes_per_s, pause_limit_s)
        for guest in guests
    ]  # fmt: skip


def _end_round(guest: _Sending, now_s: float, pause_limit_s: float) -> None:
    length_s = now_s - guest.began_s
    guest.lengths_s.append(length_s)
    guest.done = length_s <= pause_limit_s
    guest.began_s = now_s
    guest.left_bytes = guest.curve.bytes(length_s)
