"""The model: a published table, the theory against the rounds, and curves that anybody might hand in."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from whimbrel.errors import UsageError
from whimbrel.predict.capacity import bandwidth_for, shortest_pause_s
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import NEVER_S, predict
from whimbrel.spec.curve import CurveSpec

PUBLISHED = json.loads((Path(__file__).parents[1] / "recorded" / "published-dirty-curve.json").read_text())
FOR_EVER = 1e12


def curve_of(*windows: tuple[float, float], total: float = 1000, zero: float = 0) -> DirtyCurve:
    return DirtyCurve(CurveSpec.model_validate({
        "schema_version": 1, "page_bytes": 4096, "pages_total": float(total), "pages_zero": float(zero),
        "windows": [{"window_s": float(t), "dirty_pages": float(pages)} for t, pages in windows],
    }))  # fmt: skip


@some.composite
def curves(draw: some.DrawFn) -> DirtyCurve:
    steps = draw(some.lists(some.tuples(some.floats(0.01, 10), some.floats(0, 200)), min_size=2, max_size=8))
    t_s = pages = 0.0
    windows = []
    for step_s, more in steps:
        t_s, pages = t_s + step_s, pages + more
        windows.append((t_s, pages))
    zero = draw(some.floats(0, 400))
    return curve_of(*windows, total=pages + zero + draw(some.floats(1, 1000)), zero=zero)


@pytest.mark.parametrize("cell", PUBLISHED["table"], ids=str)
def test_every_published_cell_comes_out(cell: dict[str, float | None]) -> None:
    curve = DirtyCurve(CurveSpec.model_validate(PUBLISHED["curve"]))
    pause_ms, bandwidth = cell["pause_ms"], cell["bandwidth_bytes_per_s"]
    assert bandwidth is not None
    found = predict(curve, bandwidth, math.inf if pause_ms is None else pause_ms / 1000)
    rounded = None if found.total_s is None else math.ceil(math.ceil(found.total_s * 1000) / 1000)
    assert rounded == cell["total_s_rounded_up"]
    assert found.converges == (rounded is not None)


def test_a_guest_that_does_nothing_is_sent_once() -> None:
    found = predict(curve_of((1, 0), (2, 0)), 4_104_000, 0.1)
    assert (found.rounds, found.total_s, found.pause_s) == (2, 1.0, 0.0)
    assert predict(curve_of((1, 0), (2, 0)), 4_104_000, 1.0).rounds == 1


def test_rounds_are_counted_by_hand() -> None:
    # 1,000 pages at 1,000 pages/s; half of what a round lasts is dirtied: 1 s, 0.5 s, 0.25 s, 0.125 s.
    found = predict(curve_of((0.1, 50), (1, 500)), 1000 * 4104, 0.2)
    assert found.rounds == 4
    assert found.total_s == pytest.approx(1.875)
    assert found.pause_s == pytest.approx(0.125)
    assert found.sent_bytes == pytest.approx(1875 * 4104)


def test_zero_pages_cost_a_header_each() -> None:
    curve = curve_of((1, 0), (2, 0), total=1000, zero=500)
    assert curve.first_round_bytes == 500 * 4104 + 500 * 8
    assert predict(curve, 1e6, math.inf).total_s == curve.first_round_bytes / 1e6


def test_beyond_the_windows_lines_go_on_within_limits() -> None:
    curve = curve_of((1, 100), (2, 300), (3, 400), total=1000, zero=450)
    assert [curve.pages(t) for t in (0, 0.5, 0.75, 1, 1.5, 2.5, 4, 4.5, 5, 100)] == [0, 0, 50, 100, 200, 350, 500, 550, 550, 550]


def test_a_total_beyond_one_hour_is_never() -> None:
    curve = curve_of((1, 0), (2, 0), total=1000)
    just_done = 1000 * 4104 / NEVER_S
    assert predict(curve, just_done * 1.0001, math.inf).converges
    assert not predict(curve, just_done * 0.9999, math.inf).converges


@given(curves(), some.floats(0.001, 30))
def test_the_bandwidth_for_a_pause_is_where_rounds_begin_to_reach_it(curve: DirtyCurve, pause_s: float) -> None:
    bandwidth = bandwidth_for(curve, pause_s)
    assert predict(curve, bandwidth * (1 + 1e-4) + 1e-3, pause_s, FOR_EVER).converges
    if bandwidth > 1:
        assert not predict(curve, bandwidth * (1 - 1e-4), pause_s, FOR_EVER).converges


@given(curves(), some.floats(1e3, 1e9))
def test_the_shortest_pause_is_where_rounds_stop_shrinking(curve: DirtyCurve, bandwidth: float) -> None:
    shortest_s = shortest_pause_s(curve, bandwidth)
    assert predict(curve, bandwidth, shortest_s * (1 + 1e-4) + 1e-6, FOR_EVER).converges
    if shortest_s > 1e-6:
        assert not predict(curve, bandwidth, shortest_s * (1 - 1e-4), FOR_EVER).converges


def test_theory_and_bisection_agree_on_the_published_curve() -> None:
    curve = DirtyCurve(CurveSpec.model_validate(PUBLISHED["curve"]))
    dice = random.Random(1)
    for _ in range(30):
        pause_s = 10 ** dice.uniform(-1.5, 1.5)
        low, high = 1.0, 1e12
        while high / low > 1 + 1e-9:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if predict(curve, middle, pause_s, FOR_EVER).converges else (middle, high)
        assert bandwidth_for(curve, pause_s) == pytest.approx(high, rel=1e-6)


@pytest.mark.parametrize(
    ("bandwidth", "pause_s"), [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, -1), (1, math.nan)]
)
def test_numbers_that_mean_nothing_are_refused(bandwidth: float, pause_s: float) -> None:
    with pytest.raises(UsageError):
        predict(curve_of((1, 1), (2, 2)), bandwidth, pause_s)
