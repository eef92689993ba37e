"""From looks at pages to a dirty curve, on guests whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whimbrel.errors import UsageError
from whimbrel.observe.dirty_profile import expected_s, schedule
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.profile import Looks, Profile, Window, profile_of_looks, profile_of_rates

PAGES = 32_768
SAMPLE = 2_048


def looks_of(working_set: int, writes_per_s: float, seed: int, pages: int = PAGES, sample: int = SAMPLE) -> Looks:
    """A guest that writes at random within a working set: U(t) = W (1 - exp(-r t / W))."""
    dice = np.random.default_rng(seed)
    chosen = dice.choice(pages, size=sample, replace=False)
    inside = chosen < working_set
    times_s = schedule(60)
    prints = np.zeros((len(times_s), sample), dtype=np.uint64)
    for number in range(1, len(times_s)):
        since_s = times_s[number] - times_s[number - 1]
        written = inside & (dice.random(sample) < 1 - math.exp(-writes_per_s * since_s / working_set))
        prints[number] = prints[number - 1] + written
    return Looks(pages, tuple(times_s), prints, np.zeros(pages, dtype=bool))


@pytest.mark.parametrize(("working_set", "writes_per_s"), [(5_000, 250.0), (1_875, 940.0), (12_500, 62.0)])
def test_the_truth_lies_within_the_error(working_set: int, writes_per_s: float) -> None:
    covered, windows = 0, 0
    for seed in range(60):
        profile = profile_of_looks(looks_of(working_set, writes_per_s, seed))
        assert [window.window_s for window in profile.windows] == [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60]
        for window in profile.windows:
            truth = working_set * (1 - math.exp(-writes_per_s * window.window_s / working_set))
            covered += abs(window.dirty_pages - truth) <= window.error_pages
            windows += 1
    # Two standard errors cover 95 %; what is claimed is no more than that.
    assert covered / windows >= 0.9


def test_an_idle_guest_dirties_nothing_and_that_too_has_an_error() -> None:
    still = Looks(PAGES, (0.0, 1.0, 2.0), np.ones((3, SAMPLE), dtype=np.uint64), np.arange(PAGES) % 2 == 0)
    profile = profile_of_looks(still)
    assert [window.dirty_pages for window in profile.windows] == [0, 0]
    assert all(window.error_pages == pytest.approx(2 * PAGES / SAMPLE, rel=0.05) for window in profile.windows)
    assert profile.pages_zero == PAGES / 2


def test_every_page_looked_at_leaves_no_error_of_sampling() -> None:
    prints = np.zeros((3, 100), dtype=np.uint64)
    prints[1:, :7] = 1
    profile = profile_of_looks(Looks(100, (0.0, 1.0, 2.0), prints, np.zeros(100, dtype=bool)))
    assert [(window.window_s, round(window.dirty_pages, 9), window.error_pages) for window in profile.windows] == [
        (1, 3.5, 0), (2, 7, 0)]  # fmt: skip


def test_content_is_found_where_it_lies() -> None:
    # All but the last 2,048 pages are zeros, and of those the very last 1,000.
    empty = (np.arange(PAGES) < PAGES - 2048) | (np.arange(PAGES) >= PAGES - 1000)
    profile = profile_of_looks(Looks(PAGES, (0.0, 1.0, 2.0), np.ones((3, SAMPLE), dtype=np.uint64), empty))
    assert profile.pages_zero == PAGES - 1048
    assert profile.tails[0].pages == 1
    assert profile.tails[-1].pages == PAGES
    found = [profile.content_of_last(pages) for pages in (0, 700, 1000, 1500, 2048, 4096, PAGES)]
    assert found == pytest.approx([0, 0, 0, 500, 1048, 1048, 1048], abs=60)
    assert Profile(100, 75.0, profile.windows).content_of_last(40) == 10


def test_a_curve_never_shrinks_and_keeps_within_the_guest() -> None:
    windows = (Window(1.0, 90.0, 30.0), Window(2.0, 80.0, 30.0), Window(5.0, 85.0, 30.0))
    profile = Profile(pages_total=100, pages_zero=10.0, windows=windows)
    assert [window.dirty_pages for window in profile.curve.windows] == [90, 90, 90]
    assert [window.dirty_pages for window in profile.shifted(1).windows] == [90, 90, 90]
    assert [window.dirty_pages for window in profile.shifted(-1).windows] == [60, 60, 60]
    assert DirtyCurve(profile.curve).pages(3.0) == 90


def test_one_window_is_no_curve() -> None:
    with pytest.raises(UsageError, match="at least two windows"):
        _ = Profile(100, 0.0, (Window(1.0, 1.0, 1.0),)).curve


def test_whole_mib_per_s_are_kept_as_an_error() -> None:
    # 3 MiB/s cut off from anything up to 4: over 2 s, 1,792 pages give or take 256.
    profile = profile_of_rates(1000, 0.0, [(1.0, 3 * 2**20), (2.0, 3 * 2**20)], 2**20)
    assert profile.windows[1] == Window(2.0, 1792.0, 256.0)


def test_looks_come_close_together_first_and_end_on_time() -> None:
    due_s = schedule(60)
    assert due_s[:3] == [0, 0.1, 0.2]
    assert due_s[-1] == 60
    assert len(due_s) < 50
    assert expected_s(60, by_qemu=False) == 60
    assert expected_s(5, by_qemu=True) == 8
