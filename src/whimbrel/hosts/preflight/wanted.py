"""What a file wants of its hosts, as far as a move depends on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.engines.capabilities import Accelerator
from whimbrel.spec.campaign import CampaignSpec


@dataclass(frozen=True)
class Wanted:
    """The guest's accelerator and bridge, and whether any move of it is encrypted, or may go on as post-copy."""

    accelerator: Accelerator
    bridge: str
    tls: bool = False
    post_copy: bool = False


def wanted_by(campaign: CampaignSpec) -> Wanted:
    """All that any arm of a file with hosts wants."""
    assert campaign.hosts is not None
    moves = [campaign.in_arm(arm).migration for scenario in campaign.scenarios for arm in scenario.every_arm if arm.moves]
    return Wanted(
        campaign.hosts.accelerator,
        campaign.hosts.bridge,
        tls=any(move.tls for move in moves),
        post_copy=any(move.ends_as_post_copy for move in moves),
    )
