"""Post-copy: the guest goes first, its memory follows.

Source: M. Hines, U. Deshpande, K. Gopalan, Post-Copy Live Migration of Virtual Machines, SIGOPS Operating Systems
Review 43(3), 2009: every page is sent once; one that the guest touches before it came is fetched while the guest waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.predict.curve import DirtyCurve


@dataclass(frozen=True)
class PostCopyPrediction:
    """``total_s`` from the switch to the last page; ``stalled_s`` is what the guest waits for pages in all, at least."""

    total_s: float
    sent_bytes: float
    faults: float
    stalled_s: float


def predict_post_copy(
    curve: DirtyCurve, bandwidth_bytes_per_s: float, round_trip_s: float, left_bytes: float | None = None
) -> PostCopyPrediction:
    """Everything that is left (all memory, unless rounds of pre-copy went before) follows in V / B.

    Pages touched in that time are at least those dirtied, U(V/B). The background sends at a constant rate, so a page touched
    at a random moment is still missing in half of all cases. Each one missing costs a round trip and its own sending.
    """
    size_bytes = curve.first_round_bytes if left_bytes is None else left_bytes
    total_s = size_bytes / bandwidth_bytes_per_s
    faults = min(curve.pages(total_s) / 2, size_bytes / curve.page_cost_bytes)
    each_s = round_trip_s + curve.page_cost_bytes / bandwidth_bytes_per_s
    return PostCopyPrediction(total_s, size_bytes, faults, faults * each_s)
