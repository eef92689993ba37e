"""The sign-flip test: textbook examples, all 2^n ways counted one by one, and that test and interval belong together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from scipy.stats import rankdata, wilcoxon

from whimbrel.analysis import sign_flips
from whimbrel.analysis.sign_flips import centre_of, interval_of, least_count, rejects, sign_flip_p
from whimbrel.errors import UsageError

# Hollander and Wolfe, table 3.1: depression scale of nine patients, first and second visit (D. S. Salsburg, 1970).
FIRST_VISIT = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
SECOND_VISIT = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
# C. Darwin's pairs of maize, eighths of an inch, as R. A. Fisher has them in "The Design of Experiments", 1935, chapter 3.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

rows = some.lists(some.integers(-8, 8).map(float), min_size=6, max_size=12)


def test_the_depression_scale_of_the_textbook() -> None:
    change = SECOND_VISIT - FIRST_VISIT
    assert sign_flip_p(change, alternative="less") == pytest.approx(0.01953, abs=5e-6)
    assert centre_of(change) == pytest.approx(-0.46)
    assert interval_of(change, 0.96) == pytest.approx((-0.786, -0.010))


def test_darwins_maize() -> None:
    # Ranks of the two negative ones are 14 and 10; 24 or less, doubled for both sides.
    assert sign_flip_p(MAIZE) == pytest.approx(0.0413, abs=5e-5)
    assert sign_flip_p(MAIZE) == pytest.approx(wilcoxon(MAIZE).pvalue)


@pytest.mark.parametrize("count", [6, 11, 24, 45])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_without_ties_it_is_the_other_librarys(count: int, alternative: str) -> None:
    values = np.random.default_rng(count).normal(0.4, 1, count)
    expected = wilcoxon(values, alternative=alternative, method="exact").pvalue
    assert sign_flip_p(values, 0.0, alternative) == pytest.approx(expected)  # type: ignore[arg-type]


@given(rows.filter(lambda row: 0 not in row and len(row) <= 9))
@effort(max_examples=15, deadline=None)
def test_with_ties_it_is_what_counting_all_ways_gives(row: list[float]) -> None:
    ranks = rankdata(np.abs(row))
    seen = float(ranks[np.array(row) > 0].sum())
    ways = [float(np.dot(signs, ranks)) for signs in itertools.product((0, 1), repeat=len(row))]
    assert sign_flip_p(row, alternative="greater") == pytest.approx(np.mean([way >= seen for way in ways]))


@pytest.mark.parametrize(("zeros", "others"), [(1, 5), (3, 5), (5, 3), (2, 7)])
@pytest.mark.parametrize("tied", [True, False])
def test_zeros_only_make_it_more_cautious(zeros: int, others: int, tied: bool) -> None:
    sizes = np.ones(others) if tied else np.arange(1, others + 1)
    ways = [np.concatenate([np.zeros(zeros), sizes * signs]) for signs in itertools.product((-1, 1), repeat=others)]
    found = np.array([sign_flip_p(way) for way in ways])
    for level in np.unique(found):
        assert np.mean(found <= level) <= level + 1e-12


@given(rows, some.integers(-16, 16).map(lambda halves: halves / 2 + 0.1))
@effort(max_examples=30, deadline=None)
def test_the_interval_holds_what_the_test_does_not_reject(row: list[float], centre: float) -> None:
    interval = interval_of(row, 0.95)
    assert interval is not None
    assert interval[0] <= centre_of(row) <= interval[1]
    if sign_flip_p(row, centre) > 0.05:
        assert interval[0] <= centre <= interval[1]


@given(some.integers(6, 13), some.integers(0, 10**6), some.sampled_from([0.9, 0.95, 0.99]))
@effort(max_examples=30, deadline=None)
def test_without_ties_the_test_rejects_just_outside_and_not_just_inside(count: int, seed: int, confidence: float) -> None:
    values = np.random.default_rng(seed).normal(size=count)
    interval = interval_of(values, confidence)
    if interval is None:
        assert count < least_count(1 - confidence)
        return
    low, high = interval
    for end, inside in ((low, 1e-9), (high, -1e-9)):
        assert sign_flip_p(values, end + inside) > 1 - confidence
        assert sign_flip_p(values, end - inside) <= 1 - confidence + 1e-12


@given(rows, some.floats(-5, 5))
@effort(max_examples=15, deadline=None)
def test_turning_signs_turns_everything(row: list[float], centre: float) -> None:
    turned = [-value for value in row]
    assert sign_flip_p(turned, -centre) == sign_flip_p(row, centre)
    assert sign_flip_p(turned, -centre, "less") == sign_flip_p(row, centre, "greater")
    assert centre_of(turned) == -centre_of(row)
    interval, mirrored = interval_of(row, 0.95), interval_of(turned, 0.95)
    assert interval is not None
    assert mirrored == (-interval[1], -interval[0])


def test_all_alike() -> None:
    assert interval_of([0.3] * 6, 0.95) == (0.3, 0.3)
    assert sign_flip_p([0.0] * 6) == 1
    assert sign_flip_p([0.3] * 6) == 2 / 2**6
    assert sign_flip_p([0.3] * 6, 0.3) == 1


@pytest.mark.parametrize(("alpha", "two_sided", "one_sided"), [(0.05, 6, 5), (0.01, 8, 7), (0.05 / 8, 9, 8), (0.0625, 5, 4)])
def test_how_many_it_takes(alpha: float, two_sided: int, one_sided: int) -> None:
    assert least_count(alpha) == two_sided
    assert least_count(alpha, "greater") == one_sided
    assert sign_flip_p(np.arange(1.0, two_sided + 1)) <= alpha < sign_flip_p(np.arange(1.0, two_sided))
    assert interval_of(np.arange(1.0, two_sided + 1), 1 - alpha) is not None
    assert interval_of(np.arange(1.0, two_sided), 1 - alpha) is None


def test_many_campaigns_at_once_are_the_same_test() -> None:
    for count in (5, 6, 9):
        campaigns = np.random.default_rng(count).normal(0.5, 1, (60, count))
        for alternative in ("two-sided", "greater", "less"):
            one_by_one = [sign_flip_p(row, 0.1, alternative) <= 0.05 for row in campaigns]
            assert rejects(campaigns, 0.05, 0.1, alternative).tolist() == one_by_one


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_is_no_row_of_differences_is_refused(values: list[float]) -> None:
    with pytest.raises(UsageError, match="finite differences"):
        sign_flip_p(values)


def test_what_is_no_confidence_is_refused() -> None:
    with pytest.raises(UsageError, match="confidence of 95"):
        interval_of(MAIZE, 95)


# Those of moves and of controls: many ties, few, and a centre on either side of 0.
spread_out = some.tuples(some.integers(-30, 60), some.sampled_from([2, 5, 20, 100])).flatmap(
    lambda at: some.lists(some.integers(at[0] - at[1], at[0] + at[1]).map(float), min_size=31, max_size=40)
)


@effort(max_examples=100, deadline=None)
@given(spread_out)
def test_ends_found_by_bisection_are_those_found_one_by_one(values: list[float]) -> None:
    found = interval_of(values, 0.95)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sign_flips, "FEW_DIFFERENCES", 1000)
        assert interval_of(values, 0.95) == found


def test_hundreds_of_ties_take_some_looks_and_not_one_for_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(values: sign_flips.Floats) -> sign_flips.Floats:
        looks.append(len(values))
        assert len(looks) < 100, "one by one"
        found: sign_flips.Floats = rankdata(values)
        return found

    monkeypatch.setattr("scipy.stats.rankdata", counted)
    dice = np.random.default_rng(1)
    values = np.round(dice.normal(30, 50, 200))
    found = interval_of(values, 0.95)
    assert found is not None
    low, high = found
    assert low < 30 < high
    # Normal theory, three standard errors either way.
    assert high - low == pytest.approx(2 * 1.96 * 50 / np.sqrt(200), rel=0.3)


def test_chances_of_a_thousand_differences_are_those_of_normal_theory() -> None:
    """Two to the thousandth ways do not overflow."""
    values = np.random.default_rng(2).normal(0.05, 1, 1000)
    assert sign_flip_p(values) == pytest.approx(wilcoxon(values, method="approx").pvalue, rel=0.01)
