"""From a goal to a way to move: what is chosen, and what is said when nothing will do."""

from __future__ import annotations

import pytest

from whimbrel.cli.goals import parse_goal
from whimbrel.errors import UsageError
from whimbrel.predict.expectation import Expectation
from whimbrel.predict.goals import Candidate, Goal, choose
from whimbrel.predict.range import Range


def candidate(
    name: str, total_s: float, gap_s: float, sent_bytes: float = 1e9, load: float = 1.0, ends: bool | None = True
) -> Candidate:
    """Upper bounds as given; what is in the middle is half of them."""
    expected = Expectation(
        converges=ends, end="by itself" if ends else "never", bandwidth_needed_bytes_per_s=50e6, shortest_pause_s=0.1, stalls={},
        total_s=Range(total_s / 2, 0, total_s) if ends else None,
        service_gap_s=Range(gap_s / 2, 0, gap_s) if ends else None,
        sent_bytes=Range(sent_bytes, sent_bytes, sent_bytes) if ends else None,
    )  # fmt: skip
    return Candidate(name, {"technique": name}, expected, load)


QUICK_AND_DARK = candidate("paused", total_s=10, gap_s=9, sent_bytes=1.0e9)
SMOOTH = candidate("pre-copy", total_s=14, gap_s=0.4, sent_bytes=1.3e9)
GENTLE = candidate("gentle", total_s=40, gap_s=0.5, sent_bytes=1.6e9, load=0.25)
ENDLESS = candidate("endless", total_s=0, gap_s=0, ends=None)
ALL = [QUICK_AND_DARK, SMOOTH, GENTLE, ENDLESS]


@pytest.mark.parametrize(
    ("goal", "chosen"),
    [
        (Goal("shortest-gap"), "pre-copy"),
        (Goal("finish-within", within_s=20), "pre-copy"),
        (Goal("finish-within", within_s=12), "paused"),
        (Goal("least-bytes"), "paused"),
        (Goal("least-bytes", most_gap_s=1), "pre-copy"),
        (Goal("least-load"), "gentle"),
        (Goal("least-load", most_gap_s=0.45), "pre-copy"),
    ],
)
def test_the_best_of_those_that_fit(goal: Goal, chosen: str) -> None:
    choice = choose(ALL, goal)
    assert choice.candidate is not None
    assert choice.candidate.name == chosen
    assert choice.why.startswith(f"{chosen} is expected to ")
    assert choice.why.endswith(".")


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (Goal("finish-within", within_s=5), "the quickest, paused, may take 10 s"),
        (Goal("shortest-gap", most_gap_s=0.1), "the shortest service gap, of pre-copy, may last 400 ms"),
        (Goal("finish-within", within_s=12, most_gap_s=1), "but none is both"),
    ],
)
def test_what_nothing_meets_is_refused_with_what_could(goal: Goal, said: str) -> None:
    choice = choose(ALL, goal)
    assert choice.candidate is None
    assert said in choice.why


def test_a_guest_that_never_ends_says_what_link_it_would_take() -> None:
    choice = choose([ENDLESS], Goal("shortest-gap"))
    assert choice.candidate is None
    assert "400 Mbit/s" in choice.why


def test_a_goal_is_read_as_it_is_written() -> None:
    assert parse_goal("finish-within 30s", "200 ms") == Goal("finish-within", 30, 0.2)
    assert parse_goal("shortest-gap", None) == Goal("shortest-gap")


@pytest.mark.parametrize(
    ("text", "most_gap", "said"),
    [
        ("soon", None, "--goal 'soon' is not known"),
        ("finish-within", None, "has a duration"),
        ("least-bytes 3 s", None, "has a duration"),
        ("finish-within 30", None, "--goal: '30' is no duration"),
        ("shortest-gap", "200", "--max-gap: '200' is no duration"),
        ("finish-within 0 s", None, "at least 0.001 s"),
    ],
)
def test_what_is_no_goal_is_refused(text: str, most_gap: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_goal(text, most_gap)
