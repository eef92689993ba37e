"""How a pre-copy move goes, round by round, on a given link and with a given pause limit.

Source: A. Gudkov, qemu-devel, 27 April 2023, v2 of "Migration time prediction using calc-dirty-rate"; QEMU itself, which
stops the guest when what is left fits into ``downtime-limit`` (docs/devel/migration).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.errors import UsageError
from whimbrel.predict.curve import DirtyCurve

# A move that takes longer than this is said never to end.
NEVER_S = 3600.0


@dataclass(frozen=True)
class Prediction:
    """How a move goes; None for what a move that never ends does not have.

    ``rounds`` counts the last one, which is sent while the guest stands still and so is the pause.
    """

    bandwidth_bytes_per_s: float
    pause_limit_s: float
    converges: bool
    total_s: float | None
    rounds: int | None
    pause_s: float | None
    sent_bytes: float | None


@dataclass(frozen=True)
class Passage:
    """A series of rounds: the lengths of all, and what was sent in all."""

    lengths_s: tuple[float, ...]
    sent_bytes: float

    @property
    def total_s(self) -> float:
        """How long all of them take."""
        return math.fsum(self.lengths_s)


def predict(curve: DirtyCurve, bandwidth_bytes_per_s: float, pause_limit_s: float, never_s: float = NEVER_S) -> Prediction:
    """A pre-copy move over a link of constant rate; ``pause_limit_s`` infinity sends everything in one round, guest stopped.

    Worked example: 1,000 pages of 4,096 bytes, none zero, none dirtied, 4,104,000 bytes/s: one round of 1 s. UsageError when
    a number is not positive.
    """
    _check(bandwidth_bytes_per_s, pause_limit_s)
    passage = go_round(
        curve.first_round_bytes,
        lambda last_s, _: curve.bytes(last_s),
        lambda _, sent_bytes: sent_bytes / bandwidth_bytes_per_s,
        pause_limit_s,
        never_s,
        steady=True,
    )
    return as_prediction(passage, bandwidth_bytes_per_s, pause_limit_s)


def as_prediction(passage: Passage | None, bandwidth_bytes_per_s: float, pause_limit_s: float) -> Prediction:
    """What is said of a series of rounds, or of one that never ends (None)."""
    if passage is None:
        return Prediction(bandwidth_bytes_per_s, pause_limit_s, False, None, None, None, None)
    return Prediction(
        bandwidth_bytes_per_s,
        pause_limit_s,
        True,
        passage.total_s,
        len(passage.lengths_s),
        passage.lengths_s[-1],
        passage.sent_bytes,
    )


def go_round(
    first_bytes: float,
    dirtied_bytes: Callable[[float, int], float],
    send_s: Callable[[float, float], float],
    pause_limit_s: float,
    never_s: float = NEVER_S,
    steady: bool = False,
) -> Passage | None:
    """Rounds until one takes no longer than the pause limit; None when that is not so within ``never_s``.

    ``dirtied_bytes(length of the last round in s, its number from 1)`` is what the next round has to send,
    ``send_s(seconds since the beginning, bytes)`` how long that takes. ``steady`` says that neither depends on anything else:
    rounds then only grow or only shrink, so one that is no shorter than the last ends the search.
    """
    lengths_s: list[float] = []
    elapsed_s = sent_bytes = 0.0
    next_bytes = first_bytes
    while True:
        length_s = send_s(elapsed_s, next_bytes)
        elapsed_s += length_s
        sent_bytes += next_bytes
        if elapsed_s > never_s:
            return None
        if length_s <= pause_limit_s:
            return Passage((*lengths_s, length_s), sent_bytes)
        if steady and lengths_s and length_s >= lengths_s[-1]:
            return None
        lengths_s.append(length_s)
        next_bytes = dirtied_bytes(length_s, len(lengths_s))


def _check(bandwidth_bytes_per_s: float, pause_limit_s: float) -> None:
    if not (bandwidth_bytes_per_s > 0 and math.isfinite(bandwidth_bytes_per_s)):
        raise UsageError(f"a bandwidth of {bandwidth_bytes_per_s:g} bytes/s moves nothing", resolution="give one above 0")
    if not pause_limit_s > 0:
        raise UsageError(f"a pause of {pause_limit_s * 1000:g} ms is not possible", resolution="give one above 0, or inf")
