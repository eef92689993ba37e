"""What a move of a deployed service would cost, before it is made: from its profile, the link, and moves that were made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.analysis.figures import TrialFigures
from whimbrel.deployment.profiling import Profiled
from whimbrel.errors import UsageError
from whimbrel.predict.expectation import Expectation, Overheads, Range, Seen, expect, learn
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.report.load import figures_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import MigrationSpec

# How far a link's rate in the next move may be from what a short transfer gave, and a configured one from what is left of
# it for payload: frame headers, and a stream that goes the same way.
_TRIED_ERROR = 0.03
_CONFIGURED_SHARE = Range(0.95, 0.90, 0.97)


def expectation_of(profiled: Profiled, spec: CampaignSpec, migration: MigrationSpec, overheads: Overheads) -> Expectation:
    """What to expect of a pre-copy move; UsageError for another technique, which is not predicted yet."""
    if migration.technique != "pre-copy" or migration.moves != "vm":
        raise UsageError(f"only pre-copy of a VM is predicted so far, not {migration.technique}")
    link = link_range(profiled.link_bytes_per_s, spec.link_rate_bytes_per_s)
    if migration.bandwidth_bytes_per_s is not None:
        most = migration.bandwidth_bytes_per_s
        link = Range(min(link.middle, most), min(link.least, most), min(link.most, most))
    return expect(
        profiled.profile, link, migration.max_downtime_s, migration.max_rounds, overheads, spec.stream.player_buffers_s
    )  # fmt: skip


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
