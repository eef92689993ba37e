"""What the model says beside a constant link and one guest, each against a case counted by hand or a limit that must hold."""

from __future__ import annotations

import math

import pytest

from tests.unit.test_predict import curve_of
from whimbrel.errors import UsageError
from whimbrel.predict.auto_converge import Throttle, predict_with_auto_converge
from whimbrel.predict.links import ChangingLink, all_at_once, one_after_another, predict_on_changing_link
from whimbrel.predict.post_copy import predict_post_copy
from whimbrel.predict.pre_dump import StopRules, predict_pre_dump
from whimbrel.predict.rounds import predict
from whimbrel.predict.senders import compressed_bytes_per_s, parallel_bytes_per_s
from whimbrel.predict.switch import SwitchCost, darkness, viewers_stall

PAGE = 4104
HALF = curve_of((0.1, 50), (1, 500))  # 1,000 pages, 500 pages/s
BUSY = curve_of((0.1, 150), (1, 1000))  # 1,000 pages, dirtied faster than a link of 1,000 pages/s sends them


def test_a_link_that_does_not_change_is_a_constant_link() -> None:
    steady = predict(HALF, 1000 * PAGE, 0.2)
    changing = predict_on_changing_link(HALF, ChangingLink(((0.0, 1000 * PAGE), (0.7, 1000 * PAGE))), 0.2)
    assert changing.total_s == pytest.approx(steady.total_s)
    assert changing.rounds == steady.rounds


def test_a_round_over_a_change_takes_what_both_rates_give() -> None:
    link = ChangingLink(((0.0, 100.0), (2.0, 0.0), (5.0, 50.0)))
    assert link.send_s(0, 150) == 1.5
    assert link.send_s(0, 300) == 7
    assert link.send_s(1, 100) == 1
    assert link.send_s(1, 150) == 5
    assert ChangingLink(((0.0, 100.0), (2.0, 0.0))).send_s(1, 101) == math.inf
    assert not predict_on_changing_link(HALF, ChangingLink(((0.0, 1000 * PAGE), (0.5, 0.0))), 0.2).converges


@pytest.mark.parametrize("steps", [(), ((1.0, 5.0),), ((0.0, 5.0), (0.0, 6.0)), ((0.0, -1.0),), ((0.0, math.nan),)])
def test_a_link_that_makes_no_sense_is_refused(steps: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(UsageError):
        ChangingLink(steps)


def test_one_guest_has_a_shared_link_to_itself() -> None:
    alone = predict(HALF, 1000 * PAGE, 0.2)
    assert all_at_once([HALF], 1000 * PAGE, 0.2)[0].total_s == pytest.approx(alone.total_s)


def test_guests_that_dirty_nothing_take_as_long_together_as_one_after_another() -> None:
    still = curve_of((1, 0), (2, 0))
    together = all_at_once([still, still], 1000 * PAGE, 0.2)
    assert [found.total_s for found in together] == [pytest.approx(2.0), pytest.approx(2.0)]
    assert sum(found.total_s or 0 for found in one_after_another([still, still], 1000 * PAGE, 0.2)) == pytest.approx(2.0)


def test_guests_that_dirty_much_may_never_end_together_though_each_would_alone() -> None:
    dirty = curve_of((0.1, 70), (10, 7000), total=20_000)
    assert all(found.converges for found in one_after_another([dirty, dirty], 1000 * PAGE, 0.2))
    assert not any(found.converges for found in all_at_once([dirty, dirty], 1000 * PAGE, 0.2))


def test_throttling_makes_a_busy_guest_converge() -> None:
    assert not predict(BUSY, 1000 * PAGE, 0.1).converges
    found = predict_with_auto_converge(BUSY, 1000 * PAGE, 0.1)
    assert found.move.converges
    assert 0.2 <= found.throttle <= 0.99
    assert not predict_with_auto_converge(BUSY, 1000 * PAGE, 0.1, Throttle(threshold=2)).move.converges


def test_a_quiet_guest_is_not_throttled() -> None:
    quiet = curve_of((0.1, 1), (1, 10))
    found = predict_with_auto_converge(quiet, 1000 * PAGE, 0.001)
    assert found.throttle == 0
    assert found.move.total_s == predict(quiet, 1000 * PAGE, 0.001).total_s


def test_the_slower_of_link_and_cpu_decides() -> None:
    assert compressed_bytes_per_s(100e6, 3, 250e6) == 250e6
    assert compressed_bytes_per_s(100e6, 2, 250e6) == 200e6
    assert parallel_bytes_per_s(1e9, 4, 200e6) == 800e6
    assert parallel_bytes_per_s(1e9, 8, 200e6) == 1e9
    with pytest.raises(UsageError):
        compressed_bytes_per_s(1, 0, 1)
    with pytest.raises(UsageError):
        parallel_bytes_per_s(1, 0, 1)


def test_the_four_figures_are_in_their_order() -> None:
    found = darkness(0.2, 25e6, SwitchCost(device_state_bytes=250_000, load_s=0.05, announce_s=0.04), packet_every_s=0.04)
    assert found.downtime_s == pytest.approx(0.21)
    assert found.blackout_s == pytest.approx(0.26)
    assert found.reachability_gap_s == pytest.approx(0.3)
    assert found.service_gap_s == pytest.approx(0.34)
    assert viewers_stall(found.service_gap_s, 0.2)
    assert not viewers_stall(found.service_gap_s, 4)


def test_post_copy_sends_everything_once() -> None:
    found = predict_post_copy(BUSY, 1000 * PAGE, round_trip_s=0.001)
    assert found.total_s == 1.0
    assert found.faults == 500
    assert found.stalled_s == pytest.approx(500 * 0.002)
    assert predict_post_copy(BUSY, 1000 * PAGE, 0.001, left_bytes=10 * PAGE).total_s == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("windows", "rules", "reason", "rounds"),
    [
        (((0.1, 0.9), (1, 9)), StopRules(), "few pages", 1),
        (((0.1, 150), (1, 1500)), StopRules(few_pages=1), "growing", 1),
        (((0.1, 100), (1, 1000)), StopRules(few_pages=1), "too many rounds", 8),
        (((0.1, 50), (1, 500)), StopRules(few_pages=130), "few pages", 3),
    ],
)
def test_pre_dumps_end_by_the_rules(windows: tuple[tuple[float, float], ...], rules: StopRules, reason: str, rounds: int) -> None:
    curve = curve_of(*windows, total=2000, zero=1000)
    found = predict_pre_dump(curve, 1000 * PAGE, 1e12, restore_s=0.5, rules=rules)
    assert (found.reason, found.rounds) == (reason, rounds)
    assert found.frozen_s >= 0.5
    assert found.total_s > found.frozen_s
