"""Pre-copy with auto-converge: QEMU takes processor time from a guest that dirties too fast.

Source: QEMU migration/ram.c (``migration_trigger_throttle``, ``mig_throttle_guest_down``): when the bytes dirtied in a period
are more than ``throttle-trigger-threshold`` (50 %) of those sent in it, for the second time, the guest is throttled by
``cpu-throttle-initial`` (20 %), and each time again by ``cpu-throttle-increment`` (10 %) more, up to ``max-cpu-throttle``
(99 %). A round stands for a period here.
"""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import NEVER_S, Prediction, as_prediction, go_round


@dataclass(frozen=True)
class Throttle:
    """QEMU's settings, as shares of 1."""

    threshold: float = 0.5
    initial: float = 0.2
    increment: float = 0.1
    most: float = 0.99


@dataclass(frozen=True)
class ThrottledPrediction:
    """How the move goes, and by how much the guest was slowed at its end (0 to 1)."""

    move: Prediction
    throttle: float


class _Throttled:
    """The guest under growing throttle; what it dirties in t is what it would dirty in the share of t that it runs."""

    def __init__(self, curve: DirtyCurve, settings: Throttle) -> None:
        self._curve = curve
        self._settings = settings
        self._high = 0
        self._sent_bytes = curve.first_round_bytes
        self.share = 0.0

    def dirtied_bytes(self, last_s: float, _: int) -> float:
        dirtied = self._curve.bytes(last_s * (1 - self.share))
        if dirtied > self._sent_bytes * self._settings.threshold:
            self._high += 1
            if self._high >= 2:
                self._high = 0
                grown = self.share + self._settings.increment if self.share else self._settings.initial
                self.share = min(self._settings.most, grown)
        self._sent_bytes = dirtied
        return dirtied


def predict_with_auto_converge(
    curve: DirtyCurve, bandwidth_bytes_per_s: float, pause_limit_s: float, settings: Throttle | None = None
) -> ThrottledPrediction:
    """A pre-copy move with auto-converge over a link of constant rate."""
    guest = _Throttled(curve, settings or Throttle())
    passage = go_round(
        curve.first_round_bytes, guest.dirtied_bytes, lambda _, size: size / bandwidth_bytes_per_s, pause_limit_s, NEVER_S
    )  # fmt: skip
    return ThrottledPrediction(as_prediction(passage, bandwidth_bytes_per_s, pause_limit_s), guest.share)
