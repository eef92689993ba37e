"""What to expect of one move as a scenario file has it, from its guest's profile and what the link gives. Pure."""

from __future__ import annotations

import math

from whimbrel.predict.as_qemu import Limits
from whimbrel.predict.expectation import Expectation, expect, expect_post_copy, expect_standing_still
from whimbrel.predict.overheads import Overheads
from whimbrel.predict.profile import Profile
from whimbrel.predict.range import Range
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import MigrationSpec

# How far a link's rate in the next move may be from what a short transfer gave, and a configured one from what is left of
# it for payload: frame headers, and a stream that goes the same way.
_TRIED_ERROR = 0.03
_CONFIGURED_SHARE = Range(0.95, 0.90, 0.97)
# Options of pre-copy that the model of its rounds does not have.
_UNKNOWN_OPTIONS = ("auto_converge", "raise_downtime")


def why_not(migration: MigrationSpec) -> str | None:
    """Why a move like this is not predicted yet; None for one that is."""
    if migration.moves != "vm" or migration.technique not in ("pre-copy", "paused", "post-copy"):
        return f"only pre-copy, paused and post-copy of a VM are predicted so far, not {migration.technique}"
    if migration.storage != "shared":
        return "only moves on shared storage are predicted so far"
    option = next((option for option in _UNKNOWN_OPTIONS if getattr(migration, option)), None)
    if option is None and migration.compression != "none":
        option = "compression"
    return f"moves with {option} are not predicted so far" if option is not None else None


def expectation_of(
    profile: Profile, tried_bytes_per_s: float | None, spec: CampaignSpec, migration: MigrationSpec, overheads: Overheads
) -> Expectation:
    """What to expect of a move for which ``why_not`` has no reason; ``tried_bytes_per_s`` as for ``link_range``."""
    link = link_range(tried_bytes_per_s, spec.link_rate_bytes_per_s)
    most_bytes_per_s = migration.bandwidth_set_bytes_per_s or math.inf
    limits, buffers_s = limits_of(migration, overheads), spec.stream.player_buffers_s
    if migration.technique == "paused":
        return expect_standing_still(profile, link.at_most(most_bytes_per_s), limits, overheads, buffers_s)
    if migration.technique == "post-copy":
        return expect_post_copy(profile, link.at_most(most_bytes_per_s), overheads, buffers_s)
    return expect(profile, link, limits, overheads, buffers_s, most_bytes_per_s)


def limits_of(migration: MigrationSpec, overheads: Overheads) -> Limits:
    """When a move like this ends. What follows a time-out other than a stop is not predicted."""
    return Limits(
        pause_s=migration.max_downtime_s,
        rounds=migration.max_rounds,
        seconds=max(0.0, migration.timeout_s - overheads.before_s.middle),
        stops_then=migration.on_timeout == "stop-and-copy",
    )


def link_range(tried_bytes_per_s: float | None, configured_bytes_per_s: float) -> Range:
    """What the link gives to a move: as it was tried, or else as it is configured."""
    if tried_bytes_per_s is not None:
        return Range(tried_bytes_per_s, tried_bytes_per_s * (1 - _TRIED_ERROR), tried_bytes_per_s * (1 + _TRIED_ERROR))
    share = _CONFIGURED_SHARE
    return Range(*(configured_bytes_per_s * part for part in (share.middle, share.least, share.most)))
