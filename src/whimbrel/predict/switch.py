"""What it costs to change hosts, beyond the last round of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SwitchCost:
    """What the switch takes on top: the devices' state, loading it, and telling the network where the guest is now.

    ``announce_s`` is from RESUME on the destination until the network sends the guest's frames there.
    """

    device_state_bytes: float
    load_s: float
    announce_s: float


@dataclass(frozen=True)
class Darkness:
    """The four figures that an observer will see, expected."""

    downtime_s: float
    blackout_s: float
    reachability_gap_s: float
    service_gap_s: float


def darkness(pause_s: float, bandwidth_bytes_per_s: float, cost: SwitchCost, packet_every_s: float = 0.0) -> Darkness:
    """The four figures from the last round's length.

    Source: the definitions in docs/measuring.md: downtime is QEMU's, and ends before the devices' state is loaded; blackout is
    STOP to RESUME; nobody answers until the network knows; a viewer waits for the next media packet besides, which come
    ``packet_every_s`` apart.
    """
    downtime_s = pause_s + cost.device_state_bytes / bandwidth_bytes_per_s
    blackout_s = downtime_s + cost.load_s
    reachability_gap_s = blackout_s + cost.announce_s
    return Darkness(downtime_s, blackout_s, reachability_gap_s, reachability_gap_s + packet_every_s)


def viewers_stall(service_gap_s: float, ahead_s: float) -> bool:
    """Whether a player that holds ``ahead_s`` seconds of film when the gap begins runs out of it before the gap ends."""
    return service_gap_s > ahead_s
