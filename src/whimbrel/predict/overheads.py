"""What a move takes beside its memory: where no move was seen, and as moves that were made have shown it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import scipy

from whimbrel.predict.range import Range


@dataclass(frozen=True)
class Overheads:
    """What a move takes beside its memory, in seconds: before the first byte, and after the guest runs.

    And by how much QEMU's downtime is longer than sending the rest of its memory (``stop_s``, and what it takes to empty the
    sender's buffers, in which ``buffered_bytes`` lie that QEMU had counted as sent), the blackout than the downtime
    (``switch_s``), the reachability gap than the blackout, the service gap than that.

    ``rest_share`` is how much of the rest that the model predicts (``Expectation.rest_s``) there really was.
    """

    before_s: Range
    after_s: Range
    stop_s: Range
    switch_s: Range
    announce_s: Range
    packet_s: Range
    buffered_bytes: Range
    rest_share: float
    learned_from: int

    def stop_over(self, link_bytes_per_s: Range) -> Range:
        """By how much the downtime is longer than sending the rest of memory over this link."""
        return self.stop_s.plus(self.buffered_bytes.over(link_bytes_per_s))


# Where no move was seen yet: wide, as they must be to hold for emulated guests and for KVM. A socket's buffer holds up to 4 MiB
# by default (tcp(7), tcp_wmem).
UNKNOWN = Overheads(
    before_s=Range(0.3, 0.05, 1.5),
    after_s=Range(0.2, 0.02, 1.0),
    stop_s=Range(0.03, 0.002, 0.15),
    switch_s=Range(0.05, 0.005, 0.2),
    announce_s=Range(0.05, 0.0, 0.2),
    packet_s=Range(0.05, 0.0, 0.25),
    buffered_bytes=Range(1e6, 0.0, 4.2e6),
    rest_share=1.0,
    learned_from=0,
)
# Rates of links that differ by less say nothing about what is in their buffers.
_APART = 1.3
# From so few moves nothing is said of how far off the model is: one of them may be anything.
_ENOUGH = 5


@dataclass(frozen=True)
class Seen:
    """What a move that was made took beside its memory, in seconds; None where it was not measured.

    ``stop_s`` is all by which QEMU's downtime was longer than sending the rest of memory over a link of ``link_bytes_per_s``;
    ``rest_share`` is that rest over what was predicted of it.
    """

    before_s: float | None
    after_s: float | None
    stop_s: float | None
    switch_s: float | None
    announce_s: float | None
    packet_s: float | None
    link_bytes_per_s: float | None
    rest_share: float | None = None


def learn(moves: Sequence[Seen]) -> Overheads:
    """From moves that were made at the same place; what none of them says stays unknown."""
    stops = [(seen.stop_s, seen.link_bytes_per_s) for seen in moves if seen.stop_s is not None and seen.link_bytes_per_s]
    buffered = _buffered_bytes(stops)
    shares = [seen.rest_share for seen in moves if seen.rest_share is not None]
    return Overheads(
        before_s=_range([seen.before_s for seen in moves], UNKNOWN.before_s),
        after_s=_range([seen.after_s for seen in moves], UNKNOWN.after_s),
        stop_s=_range([max(0.0, stop_s - buffered.middle / rate) for stop_s, rate in stops], UNKNOWN.stop_s),
        switch_s=_range([seen.switch_s for seen in moves], UNKNOWN.switch_s),
        announce_s=_range([seen.announce_s for seen in moves], UNKNOWN.announce_s),
        packet_s=_range([seen.packet_s for seen in moves], UNKNOWN.packet_s),
        buffered_bytes=buffered,
        rest_share=median(shares) if len(shares) >= _ENOUGH else UNKNOWN.rest_share,
        learned_from=len(moves),
    )


def _range(values: Sequence[float | None], unknown: Range) -> Range:
    """The median, and from the least to the most with a margin.

    Of n + 1 values the last lies beyond the n others with a chance of 2/(n + 1), half of it on either side. So on either side
    that share of what was open before is left open: half of it at first, ever less as moves are seen.
    """
    known = [value for value in values if value is not None]
    if not known:
        return unknown
    open_share = 1 / (len(known) + 1)
    least = min(known) - open_share * (unknown.middle - unknown.least)
    return Range(median(known), max(0.0, least), max(known) + open_share * (unknown.most - unknown.middle))


def _buffered_bytes(stops: Sequence[tuple[float, float]]) -> Range:
    """What lay in buffers, from how long moves over links of different rates took to stop: stop = constant + buffered / rate.

    By least squares with neither below 0; on either side a share of what was open before is left open, as in ``_range``. Where
    all links were alike nobody can tell the two apart: what is thought otherwise, as far as that much would fit.
    """
    unknown = UNKNOWN.buffered_bytes
    if not stops:
        return unknown
    rates = [rate for _, rate in stops]
    if max(rates) < _APART * min(rates):
        most = min(stop_s * rate for stop_s, rate in stops)
        return Range(min(unknown.middle, most), 0.0, min(unknown.most, most))
    # Only here: scipy loads this part when it is first used, and no other command has to wait for it.
    found, _ = scipy.optimize.nnls(np.array([[1.0, 1.0 / rate] for rate in rates]), np.array([stop_s for stop_s, _ in stops]))
    middle, open_share = float(found[1]), 1 / (len(stops) + 1)
    return Range(
        middle,
        max(0.0, middle - open_share * (unknown.middle - unknown.least)),
        middle + open_share * (unknown.most - unknown.middle),
    )
