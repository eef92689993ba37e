"""From looks at a guest's pages to its dirty curve, and how far off it may be. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from whimbrel.errors import UsageError
from whimbrel.spec.curve import CurveSpec

PAGE_BYTES = 4096
# The lengths at which the curve is given, in seconds.
WINDOWS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
# A pair of looks belongs to the window whose length it has, give or take a share of it, or what a look may come too late.
_NEAR = 0.03
_LATE_S = 0.01
# By so much each tail is longer than the one before, or by a page: fine enough that a straight line is right in between.
_TAIL_GROWTH = 1.1
# Two standard errors.
_SURE = 2.0


@dataclass(frozen=True)
class Looks:
    """A guest of ``pages`` pages, looked at again and again.

    ``prints`` has a row for each look and a column for each page of the sample: its fingerprint then. ``zeros`` says for every
    page of the guest, by address, whether it held nothing but zeros in the end.
    """

    pages: int
    times_s: tuple[float, ...]
    prints: np.ndarray
    zeros: np.ndarray


@dataclass(frozen=True)
class Window:
    """Pages dirtied in a window of this length, and by how much that may be wrong (two standard errors, or a resolution)."""

    window_s: float
    dirty_pages: float
    error_pages: float


@dataclass(frozen=True)
class Tail:
    """Of a guest's last so many pages, by address, how many hold something else than zeros."""

    pages: int
    content_pages: float


@dataclass(frozen=True)
class Profile:
    """A guest's dirty curve as it was found, and where its content lies.

    ``tails`` grow from few pages to all; there are none where addresses could not be seen.
    """

    pages_total: int
    pages_zero: float
    windows: tuple[Window, ...]
    tails: tuple[Tail, ...] = ()

    def content_of_last(self, pages: float) -> float:
        """How many of the guest's last so many pages hold content; by the share of all where their addresses were not seen."""
        return float(np.interp(pages, *self._content))

    @cached_property
    def _content(self) -> tuple[np.ndarray, np.ndarray]:
        tails = self.tails or (Tail(self.pages_total, self.pages_total - self.pages_zero),)
        return np.array([0, *(tail.pages for tail in tails)]), np.array([0.0, *(tail.content_pages for tail in tails)])

    @property
    def curve(self) -> CurveSpec:
        """The curve as it was found; UsageError when there are too few windows."""
        return self.shifted(0.0)

    def shifted(self, errors: float) -> CurveSpec:
        """The curve with so many times its error added to each window; -1 and 1 are its lower and upper bounds."""
        most = self.pages_total - self.pages_zero
        pages = [min(most, max(0.0, window.dirty_pages + errors * window.error_pages)) for window in self.windows]
        # What was dirtied in a shorter window counts in a longer one too.
        grown = list(itertools.accumulate(pages, max))
        if len(grown) < 2:
            raise UsageError("a dirty curve needs at least two windows", resolution="profile for longer")
        content = {
            "schema_version": 1,
            "page_bytes": PAGE_BYTES,
            "pages_total": float(self.pages_total),
            "pages_zero": float(self.pages_zero),
            "windows": [{"window_s": window.window_s, "dirty_pages": found}
                        for window, found in zip(self.windows, grown, strict=True)],
        }  # fmt: skip
        return CurveSpec.model_validate(content)

    def as_json(self) -> str:
        """The curve's file, as ``predict --curve`` reads it."""
        return json.dumps(self.curve.model_dump(mode="json"), indent=1)


def profile_of_looks(looks: Looks) -> Profile:
    """U(t) of each window: the mean share of pages that differ between two looks that far apart, times all pages.

    The error is that of a share found in a sample of K pages, sqrt(p (1 - p) / K), where pairs of looks that overlap tell
    little new and so are not counted as more pages (Cochran, Sampling Techniques, 3rd ed., 1977, section 3.2); with the finite
    population's correction. A share of 0 is given the error of one page in the sample.
    """
    sample = looks.prints.shape[1]
    correction = 1 - sample / looks.pages if looks.pages > sample else 0.0
    windows = []
    for window_s in WINDOWS_S:
        shares = [
            float(np.count_nonzero(looks.prints[left] != looks.prints[right])) / sample
            for left, right in itertools.combinations(range(len(looks.times_s)), 2)
            if abs(looks.times_s[right] - looks.times_s[left] - window_s) <= max(_NEAR * window_s, _LATE_S)
        ]
        if shares:
            share = sum(shares) / len(shares)
            spread = math.sqrt(max(share * (1 - share), 1 / sample) / sample * correction)
            windows.append(Window(window_s, share * looks.pages, _SURE * spread * looks.pages))
    return Profile(looks.pages, float(np.count_nonzero(looks.zeros)), tuple(windows), _tails(looks.zeros))


def _tails(zeros: np.ndarray) -> tuple[Tail, ...]:
    """From the end of memory, each longer than the one before by a share, up to all of it."""
    content = np.concatenate(([0], np.cumsum(np.logical_not(zeros[::-1]))))
    lengths = np.geomspace(1, len(zeros), num=math.ceil(math.log(len(zeros), _TAIL_GROWTH)) + 1).round().astype(int)
    return tuple(Tail(int(pages), float(content[pages])) for pages in np.unique(lengths))


def profile_of_rates(
    pages: int, zero: float, rates: Sequence[tuple[float, float]], resolution_bytes_per_s: float, sample: float | None = None
) -> Profile:
    """From (window in s, bytes/s of different pages dirtied in it), each known to within a resolution that is cut off.

    QEMU cuts off what is below a whole MiB/s, so the middle of what may have been is half a MiB/s higher. ``sample`` is at how
    many pages it looked, each of them once more at the end; None where it counted all.
    """
    half = resolution_bytes_per_s / 2
    windows = []
    for window_s, rate in rates:
        dirty, error = (rate + half) * window_s / PAGE_BYTES, half * window_s / PAGE_BYTES
        if sample is not None:
            share = min(1.0, dirty / pages)
            error = math.hypot(error, _SURE * pages * math.sqrt(max(share * (1 - share), 1 / sample) / sample))
        windows.append(Window(window_s, dirty, error))
    return Profile(pages, zero * pages, tuple(windows))
