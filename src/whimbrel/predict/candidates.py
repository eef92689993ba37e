"""Ways to move a VM that are worth a thought, each with what is expected of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from whimbrel.predict.expectation import expect, expect_post_copy, expect_standing_still
from whimbrel.predict.goals import Candidate
from whimbrel.predict.move import limits_of, link_range
from whimbrel.predict.overheads import Overheads
from whimbrel.predict.profile import Profile
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import whole_mib_per_s
from whimbrel.units import format_duration

_PAUSE_LIMITS_S = (0.03, 0.1, 0.3, 1.0)
_USUAL_PAUSE_S = 0.3
_SHARES = (0.5, 0.25)


def candidates_for(
    profile: Profile, tried_bytes_per_s: float | None, spec: CampaignSpec, overheads: Overheads
) -> list[Candidate]:
    """For a guest with this profile; ``tried_bytes_per_s`` as for ``link_range``."""
    link, limits = link_range(tried_bytes_per_s, spec.link_rate_bytes_per_s), limits_of(spec.migration, overheads)
    found = [
        Candidate(f"pre-copy with a pause limit of {format_duration(limit_s)}",
                  {"technique": "pre-copy", "max_downtime": f"{limit_s * 1e3:g} ms"},
                  expect(profile, link, replace(limits, pause_s=limit_s), overheads), 1.0)
        for limit_s in _PAUSE_LIMITS_S
    ]  # fmt: skip
    for share in _SHARES:
        mib_per_s = whole_mib_per_s(link.middle * share)
        if not mib_per_s:
            # Less than any limit that a move can be given.
            continue
        found.append(
            Candidate(f"pre-copy at {share:.0%} of the link",
                      {"technique": "pre-copy", "bandwidth": f"{mib_per_s} MiB/s"},
                      expect(profile, link, replace(limits, pause_s=_USUAL_PAUSE_S), overheads, (), mib_per_s * 2.0**20), share)
        )  # fmt: skip
    found.append(Candidate("paused", {"technique": "paused"}, expect_standing_still(profile, link, limits, overheads), 1.0))
    found.append(Candidate("post-copy", {"technique": "post-copy"}, expect_post_copy(profile, link, overheads), 1.0))
    return found
