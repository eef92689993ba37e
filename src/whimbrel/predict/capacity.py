"""What a link must carry for a wished pause, and the pause that a given link can reach; with no limit on time.

Let g(t) = (P + h) U(t) / t be the rate at which a window of length t has to be sent to take no longer than t. Rounds on a link of
rate B shrink from S0/B as long as B > g, and stop shrinking at the first t with B = g(t). So a pause tau is reached
if and only if B > sup of g over [tau, S0/B], or S0/B <= tau. On a straight piece of U, g is monotone, so its largest
value is at an end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from whimbrel.errors import UsageError
from whimbrel.predict.curve import DirtyCurve, Segment


def bandwidth_for(curve: DirtyCurve, pause_s: float) -> float:
    """The bandwidth, in bytes/s, above which a pause of ``pause_s`` is reached; at it, it may or may not be.

    B stands on both sides of its condition, as the first round is S0/B long. With T = S0/B it reads S0 > T sup g over [tau, T],
    whose right side only grows with T: the longest T that holds gives the least B.
    """
    if not (pause_s > 0 and math.isfinite(pause_s)):
        raise UsageError(f"a pause of {pause_s * 1000:g} ms is not possible", resolution="give one above 0")
    first_bytes = curve.first_round_bytes
    cost = curve.page_cost_bytes
    if curve.bytes(pause_s) >= first_bytes:
        return first_bytes / pause_s
    largest = 0.0
    for piece in _pieces(curve, pause_s, math.inf):
        largest = max(largest, _rate(curve, piece, piece.from_s))
        # Where g does not rise above what it was: T times that reaches S0.
        flat_s = first_bytes / largest if largest > 0 else math.inf
        # Where g rises, it is the curve itself that reaches S0: only a line that begins below 0 makes g rise.
        rising_s = (first_bytes / cost - piece.at_0) / piece.slope if piece.slope > 0 and piece.at_0 < 0 else math.inf
        reached_s = max(min(flat_s, rising_s), piece.from_s)
        if reached_s <= piece.to_s and math.isfinite(reached_s):
            return first_bytes / reached_s
        if math.isfinite(piece.to_s):
            largest = max(largest, _rate(curve, piece, piece.to_s))
    return 0.0


def shortest_pause_s(curve: DirtyCurve, bandwidth_bytes_per_s: float) -> float:
    """The pause, in s, above which a link of this rate reaches any; 0 when there is no such limit.

    It is the largest t up to S0/B at which g(t) is still B or more: there rounds stop shrinking.
    """
    if not (bandwidth_bytes_per_s > 0 and math.isfinite(bandwidth_bytes_per_s)):
        raise UsageError(f"a bandwidth of {bandwidth_bytes_per_s:g} bytes/s moves nothing", resolution="give one above 0")
    first_s = curve.first_round_bytes / bandwidth_bytes_per_s
    for piece in reversed(list(_pieces(curve, 0.0, first_s))):
        if _rate(curve, piece, piece.to_s) >= bandwidth_bytes_per_s:
            return piece.to_s
        if piece.from_s == 0 and piece.at_0 == 0:
            continue
        if piece.from_s == 0 or _rate(curve, piece, piece.from_s) >= bandwidth_bytes_per_s:
            # (P + h)(at_0 + slope t) = B t, which falls through B on this piece.
            return curve.page_cost_bytes * piece.at_0 / (bandwidth_bytes_per_s - curve.page_cost_bytes * piece.slope)
    return 0.0


def _pieces(curve: DirtyCurve, from_s: float, to_s: float) -> Iterator[Segment]:
    """The curve's pieces between two times."""
    for segment in curve.segments:
        left_s, right_s = max(segment.from_s, from_s), min(segment.to_s, to_s)
        if left_s < right_s:
            yield Segment(left_s, right_s, segment.at_0, segment.slope)


def _rate(curve: DirtyCurve, piece: Segment, t_s: float) -> float:
    """g(t) on a piece, in bytes/s."""
    if t_s == 0:
        return math.inf if piece.at_0 > 0 else curve.page_cost_bytes * piece.slope
    return curve.page_cost_bytes * piece.at(t_s) / t_s
