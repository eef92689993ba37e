"""What brings an interrupted move to one running copy. Pure: a decision from the journal and from what both sides say now.

The rule behind it: a copy may go on only when it is certain that no other one has gone on since it was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whimbrel.hosts.host import GuestState

SideState = GuestState | Literal["silent"]
Step = Literal[
    "done", "wait", "resume post-copy", "source goes on", "destination goes on", "end source", "end destination", "boot", "cannot"
]


@dataclass(frozen=True)
class Situation:
    """What both sides say.

    ``under_way``: something still moves it, and ``moved_bytes`` is how far it has come, where that is known. ``split``: a
    post-copy move has stopped in the middle, and each side has a part of the memory; ``deaf``: it cannot be taken up again, as
    the destination's QEMU does not answer, its libvirt cannot, or as it is a container. ``sent``: the destination may
    have gone on, as the source has sent everything or the destination says that it runs. ``whole``: the destination has all
    that it needs to go on. ``not_two`` is why it is not certain that they are two hosts; nothing when it is.
    """

    source: SideState
    destination: SideState
    under_way: bool = False
    split: bool = False
    deaf: bool = False
    sent: bool = False
    whole: bool = False
    moved_bytes: int | None = None
    not_two: str = ""


@dataclass(frozen=True)
class Intention:
    """What the journal adds, and the user.

    ``switched``: the order to go on at the destination was given; ``between``: it was shut down to be booted there, and its disk
    is the newest there is. ``boot_anew``: the user would rather have it started from its disk than not at all. ``booted``: that
    was done before, so its disk may be older than the one on the other host.
    """

    switched: bool = False
    between: bool = False
    boot_anew: bool = False
    booted: bool = False


@dataclass(frozen=True)
class Decision:
    """The next step, and why, in words that a user reads."""

    step: Step
    why: str


def decide(now: Situation, then: Intention) -> Decision:
    """The next step.

    Worked example: the source stands still, the destination has no copy, nothing is under way. When the journal does not say that
    the switch was ordered and the source has not sent everything, no other copy can have run: the source goes on. Otherwise
    the destination may have run and died since, its disk may have changed, and the source's memory no longer fits.
    """
    if "silent" in (now.source, now.destination):
        which = "source" if now.source == "silent" else "destination"
        return Decision("cannot", f"the {which} does not answer, so nobody knows what runs there")
    if now.not_two:
        return Decision("cannot", f"{now.not_two}; so nobody knows how many copies there are, and none is touched")
    if now.split:
        return _split(now, then)
    if now.under_way:
        return Decision("wait", "the move is still under way")
    table = {
        ("runs", "absent"): Decision("done", "it runs on the source, and there is no other copy"),
        ("absent", "runs"): Decision("done", "it runs on the destination, and there is no other copy"),
        ("runs", "stands still"): Decision("end destination", "the source runs, so the copy at the destination never went on"),
        ("runs", "runs"): Decision("cannot", "a copy runs on either of two hosts: look which is newest before stopping any"),
    }
    known = table.get((now.source, now.destination))
    if known is not None:
        return known
    return _one_stands_still(now, then)


def _split(now: Situation, then: Intention) -> Decision:
    if "absent" in (now.source, now.destination):
        lost, left = ("source", "destination") if now.source == "absent" else ("destination", "source")
        return _boot_or_not(then, f"the {lost} is gone with its part of the memory; what the {left} has is not whole")
    if now.deaf:
        return _boot_or_not(then, "each side has a part of the memory, and the destination takes no more of it")
    return Decision("resume post-copy", "each side has a part of the memory: the rest has still to be sent")


def _one_stands_still(now: Situation, then: Intention) -> Decision:
    if now.destination == "runs":
        if now.sent and now.whole:
            return Decision("end source", "the destination has everything and runs; the copy that stands still is an old one")
        return Decision("cannot", "the destination runs, but nobody says that it has everything")
    if now.destination == "stands still":
        if now.whole and (now.sent or now.source == "absent"):
            return Decision("destination goes on", "the destination has everything, and no other copy runs")
        if now.source == "stands still" and not then.switched and not now.sent:
            return Decision("end destination", "the destination has only a part, and never went on")
        return _boot_or_not(then, "the destination has only a part of it, and the source none that may go on")
    if now.source == "stands still":
        if not now.sent and not then.switched:
            return Decision("source goes on", "the destination has no copy, and never had a whole one")
        return _boot_or_not(then, "the destination may have gone on and died since: what the source has in memory is too old")
    if then.between and not now.sent:
        return Decision("boot", "it was shut down to be booted elsewhere: its disk is whole")
    return _boot_or_not(then, "no copy is left")


def _boot_or_not(then: Intention, why: str) -> Decision:
    if then.boot_anew:
        return Decision("boot", f"{why}; it is started anew from its disk")
    return Decision("cannot", f"{why}; '--boot-anew' starts it from its disk, without what was in memory")
