"""What a file may say of a guest of the user's own, which is on hosts already and moves as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whimbrel.spec.fields import MisfitError

if TYPE_CHECKING:
    from whimbrel.spec.campaign import CampaignSpec


def unprobed(observe: Any) -> dict[str, Any]:
    """Of a guest whose address nobody knows: its checks say what its users see."""
    told = isinstance(observe, Mapping) and {"probe_every", "probe_every_s"} & set(observe)
    return {} if told or not isinstance(observe or {}, Mapping) else {"observe": {**(observe or {}), "probe_every": "off"}}


def refuse_misfits(campaign: CampaignSpec) -> None:
    """MisfitError for what does not go with such a guest; and where one of ours lacks its share of the hosts."""
    if not campaign.own:
        for key in ("storage", "guest_address"):
            if campaign.hosts is not None and not getattr(campaign.hosts, key):
                raise MisfitError("is missing; only a guest of your own ('guest.domain') needs none", "hosts", key)
        return
    if campaign.hosts is None:
        raise MisfitError("runs on hosts of yours: name them, 'hosts: {servers: {...}}'", "guest", "domain")
    if campaign.guest.dirtier is not None:
        raise MisfitError("cannot be put into a guest of your own", "guest", "dirtier")
    if campaign.own_image is not None:
        raise MisfitError("cannot be put into a guest of your own ('guest.domain')", "service", "image")
    if campaign.observe.probe_every_s is not None:
        raise MisfitError("knows no address of your guest: ask it by 'service: {checks: [...]}'", "observe", "probe_every")
    if campaign.observe.profile_for_s is not None:
        raise MisfitError("is not for a guest of your own: 'whimbrel profile --from' does it once", "observe", "profile_for")
    if campaign.migration.after != "nothing" or campaign.migration.storage != "shared" or campaign.migration.by != "whimbrel":
        raise MisfitError("of a guest of your own is by whimbrel, on shared storage, and leaves its clock alone", "migration")
    if campaign.migration.technique == "cold" or campaign.migration.moves != "vm":
        raise MisfitError("is not for a guest of your own: it moves as it runs", "migration", "technique")
    for position, scenario in enumerate(campaign.scenarios):
        for arm in scenario.every_arm:
            if arm.viewers or arm.hls_viewers or arm.engine != "none" or not arm.moves:
                raise MisfitError("of a guest of your own are told apart by 'set'", "scenarios", position, "arms")
            if any(key.partition(".")[0] in ("guest", "lab") for key in arm.settings):
                raise MisfitError("cannot change a guest of your own", "scenarios", position, "arms")
