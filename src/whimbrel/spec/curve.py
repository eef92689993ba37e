"""The file that a dirty curve is kept in."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from whimbrel.spec.fields import MisfitError, Spec

# Fractions of pages are allowed: a curve may be scaled up from a sample.
_Pages = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class WindowSpec(Spec):
    """Unique pages dirtied in a window of this length."""

    window_s: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    dirty_pages: _Pages


class CurveSpec(Spec):
    """A guest's pages, and how many of them it dirties in windows of growing length."""

    schema_version: Literal[1]
    page_bytes: Annotated[int, Field(gt=0, strict=True)]
    pages_total: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    pages_zero: _Pages
    windows: tuple[WindowSpec, ...]

    @field_validator("windows")
    @classmethod
    def _windows_grow(cls, windows: tuple[WindowSpec, ...]) -> tuple[WindowSpec, ...]:
        if len(windows) < 2:
            raise MisfitError(f"a curve needs at least two windows, not {len(windows)}")
        for position, (shorter, longer) in enumerate(itertools.pairwise(windows), 1):
            if longer.window_s <= shorter.window_s:
                raise MisfitError("windows must become longer from one to the next", position, "window_s")
            if longer.dirty_pages < shorter.dirty_pages:
                raise MisfitError(
                    "a longer window cannot have fewer dirty pages: what was dirtied in the shorter one counts in it too",
                    position, "dirty_pages",
                )  # fmt: skip
        return windows

    @model_validator(mode="after")
    def _pages_fit(self) -> CurveSpec:
        if self.pages_zero > self.pages_total:
            raise MisfitError("there are more zero pages than pages", "pages_zero")
        for position, window in enumerate(self.windows):
            if window.dirty_pages > self.pages_total:
                raise MisfitError("there are more dirty pages than pages", "windows", position, "dirty_pages")
        return self
