"""What a move of a deployed service would cost, before it is made: from its profile, the link, and moves that were made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.analysis.figures import TrialFigures
from whimbrel.deployment.profiling import Profiled
from whimbrel.errors import UsageError
from whimbrel.predict.expectation import (
    Expectation,
    Overheads,
    Range,
    Seen,
    expect,
    expect_post_copy,
    expect_standing_still,
    learn,
)
from whimbrel.predict.goals import Candidate
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.report.load import figures_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import MigrationSpec
from whimbrel.units import format_duration

# How far a link's rate in the next move may be from what a short transfer gave, and a configured one from what is left of
# it for payload: frame headers, and a stream that goes the same way.
_TRIED_ERROR = 0.03
_CONFIGURED_SHARE = Range(0.95, 0.90, 0.97)
_PAUSE_LIMITS_S = (0.03, 0.1, 0.3, 1.0)
_USUAL_PAUSE_S = 0.3
_SHARES = (0.5, 0.25)


def expectation_of(profiled: Profiled, spec: CampaignSpec, migration: MigrationSpec, overheads: Overheads) -> Expectation:
    """What to expect of a move; UsageError for a technique that is not predicted yet."""
    if migration.moves != "vm" or migration.technique not in ("pre-copy", "paused", "post-copy"):
        raise UsageError(f"only pre-copy, paused and post-copy of a VM are predicted so far, not {migration.technique}")
    link = link_range(profiled.link_bytes_per_s, spec.link_rate_bytes_per_s)
    if migration.bandwidth_bytes_per_s is not None:
        most = migration.bandwidth_bytes_per_s
        link = Range(min(link.middle, most), min(link.least, most), min(link.most, most))
    profile, buffers_s = profiled.profile, spec.stream.player_buffers_s
    if migration.technique == "paused":
        return expect_standing_still(profile, link, overheads, buffers_s)
    if migration.technique == "post-copy":
        return expect_post_copy(profile, link, overheads, buffers_s)
    return expect(profile, link, migration.max_downtime_s, migration.max_rounds, overheads, buffers_s)


def candidates_for(profiled: Profiled, spec: CampaignSpec, overheads: Overheads) -> list[Candidate]:
    """Ways to move a VM that are worth a thought, each with what is expected of it."""
    link = link_range(profiled.link_bytes_per_s, spec.link_rate_bytes_per_s)
    profile, rounds = profiled.profile, spec.migration.max_rounds
    found = [
        Candidate(f"pre-copy with a pause limit of {format_duration(limit_s)}",
                  {"technique": "pre-copy", "max_downtime": f"{limit_s * 1e3:g} ms"},
                  expect(profile, link, limit_s, rounds, overheads), 1.0)
        for limit_s in _PAUSE_LIMITS_S
    ]  # fmt: skip
    for share in _SHARES:
        rate = Range(*(part * share for part in (link.middle, link.least, link.most)))
        found.append(
            Candidate(f"pre-copy at {share:.0%} of the link", {"technique": "pre-copy", "bandwidth": f"{rate.middle:.0f} B/s"},
                      expect(profile, rate, _USUAL_PAUSE_S, rounds, overheads), share)
        )  # fmt: skip
    found.append(Candidate("paused", {"technique": "paused"}, expect_standing_still(profile, link, overheads), 1.0))
    found.append(Candidate("post-copy", {"technique": "post-copy"}, expect_post_copy(profile, link, overheads), 1.0))
    return found


def link_range(tried_bytes_per_s: float | None, configured_bytes_per_s: float) -> Range:
    """What the link gives to a move: as it was tried, or else as it is configured."""
    if tried_bytes_per_s is not None:
        return Range(tried_bytes_per_s, tried_bytes_per_s * (1 - _TRIED_ERROR), tried_bytes_per_s * (1 + _TRIED_ERROR))
    share = _CONFIGURED_SHARE
    return Range(*(configured_bytes_per_s * part for part in (share.middle, share.least, share.most)))


def overheads_from(folders: Sequence[Path]) -> Overheads:
    """What moves took beside their memory, as far as these results of earlier ones say."""
    seen = [
        found
        for folder in folders
        for stored in CampaignFolder.open(folder).trials()
        if (found := seen_in(stored, figures_of(stored))) is not None
    ]
    return learn(seen)


def seen_in(stored: StoredTrial, figures: TrialFigures) -> Seen | None:
    """What one move took beside its memory; None for a trial without a live move of a VM that was measured."""
    move = stored.record.move
    migration = stored.record.spec.migration
    if move is None or not figures.measured or migration.moves != "vm" or migration.technique != "pre-copy":
        return None
    ends = {phase.name: (phase.from_ns, phase.to_ns) for phase in figures.phases}
    first_ns, resumed_ns = ends["pre-copy"][0], ends["stop-and-copy"][1]
    return Seen(
        before_s=None if first_ns is None else (first_ns - move.called_ns) / 1e9,
        after_s=None if resumed_ns is None else (move.returned_ns - resumed_ns) / 1e9,
        switch_s=_longer_s(figures.blackout_ms, figures.qemu_downtime_ms),
        announce_s=_longer_s(figures.reachability_gap_ms, figures.blackout_ms),
        packet_s=_longer_s(figures.service_gap_ms, figures.reachability_gap_ms),
    )


def _longer_s(figure_ms: float | None, than_ms: float | None) -> float | None:
    return None if figure_ms is None or than_ms is None else max(0.0, figure_ms - than_ms) / 1e3
