"""Which step follows from what both sides say; above all, when a copy may go on and when it must not."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from whimbrel.hosts.host import GuestState
from whimbrel.migrate.recovery import Intention, SideState, Situation, Step, decide

NOTHING = Intention()
SIDES: tuple[SideState, ...] = (*get_args(GuestState), "silent")


@pytest.mark.parametrize(
    ("now", "then", "step"),
    [
        (Situation("runs", "absent"), NOTHING, "done"),
        (Situation("absent", "runs"), NOTHING, "done"),
        (Situation("runs", "absent", under_way=True), NOTHING, "wait"),
        (Situation("runs", "stands still"), NOTHING, "end destination"),
        (Situation("runs", "runs"), NOTHING, "cannot"),
        (Situation("silent", "runs"), NOTHING, "cannot"),
        # libvirt gave up before the switch: the source's copy is the only one that ever ran.
        (Situation("stands still", "absent"), NOTHING, "source goes on"),
        (Situation("stands still", "absent", sent=True), NOTHING, "cannot"),
        (Situation("stands still", "absent"), Intention(switched=True), "cannot"),
        (Situation("stands still", "absent"), Intention(switched=True, boot_anew=True), "boot"),
        (Situation("stands still", "stands still", split=True), Intention(switched=True), "resume post-copy"),
        (Situation("stands still", "runs", split=True), Intention(switched=True), "resume post-copy"),
        (Situation("stands still", "stands still", split=True, deaf=True), Intention(switched=True), "cannot"),
        (Situation("stands still", "stands still", split=True, deaf=True), Intention(boot_anew=True), "boot"),
        (Situation("absent", "stands still", split=True), Intention(switched=True), "cannot"),
        (Situation("absent", "runs", split=True), Intention(switched=True), "cannot"),
        (Situation("stands still", "absent", split=True), Intention(switched=True, boot_anew=True), "boot"),
        (Situation("stands still", "runs", sent=True, whole=True), NOTHING, "end source"),
        (Situation("stands still", "runs"), NOTHING, "cannot"),
        # A container that runs and still waits for pages of its source.
        (Situation("stands still", "runs", sent=True), NOTHING, "cannot"),
        (Situation("absent", "stands still", whole=True), NOTHING, "destination goes on"),
        (Situation("absent", "stands still"), NOTHING, "cannot"),
        (Situation("stands still", "stands still", sent=True, whole=True), NOTHING, "destination goes on"),
        (Situation("stands still", "stands still"), NOTHING, "end destination"),
        (Situation("stands still", "stands still"), Intention(switched=True), "cannot"),
        # Cold: powered off on the source, not yet booted.
        (Situation("absent", "absent"), Intention(between=True), "boot"),
        (Situation("absent", "absent", sent=True), Intention(between=True), "cannot"),
        (Situation("absent", "absent"), NOTHING, "cannot"),
        (Situation("absent", "absent"), Intention(boot_anew=True), "boot"),
    ],
)
def test_the_next_step(now: Situation, then: Intention, step: Step) -> None:
    assert decide(now, then).step == step


def everything() -> list[tuple[Situation, Intention]]:
    return [
        (
            Situation(source, destination, under_way, split, deaf, sent, whole, not_two=not_two),
            Intention(*flags),
        )
        for source, destination in itertools.product(SIDES, repeat=2)
        for under_way, split, deaf, sent, whole, *flags in itertools.product((False, True), repeat=8)
        for not_two in ("", "hosts a and b are one host")
    ]


def test_nothing_is_done_before_two_hosts_are_known_to_be_two() -> None:
    for now, then in everything():
        if now.not_two:
            assert decide(now, then).step == "cannot"


def test_every_situation_has_an_answer_in_words() -> None:
    for now, then in everything():
        assert decide(now, then).why


def test_no_copy_goes_on_beside_one_that_runs() -> None:
    for now, then in everything():
        step = decide(now, then).step
        # What runs as half of a post-copy move is ended before it is booted.
        if "runs" in (now.source, now.destination) and not now.split:
            assert step not in ("source goes on", "destination goes on", "boot"), (now, then)


def test_the_source_never_goes_on_when_the_destination_may_have() -> None:
    for now, then in everything():
        if decide(now, then).step == "source goes on":
            assert not now.sent, now
            assert not then.switched, then
            assert now.destination == "absent", now


def test_the_source_is_ended_only_when_the_destination_has_everything() -> None:
    for now, then in everything():
        if decide(now, then).step == "end source":
            assert now.whole, now
            assert now.destination == "runs", now


def test_nothing_is_started_or_ended_while_a_side_is_silent() -> None:
    for now, then in everything():
        if "silent" in (now.source, now.destination):
            assert decide(now, then).step == "cannot"
