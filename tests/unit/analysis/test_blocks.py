from __future__ import annotations

import pytest

from whimbrel.analysis.blocks import TrialFigure, by_block, one_figure
from whimbrel.errors import UsageError


def test_viewers_of_one_trial_give_one_figure() -> None:
    assert one_figure([3.0, 9.0, 4.0]) == 9
    assert one_figure([3.0, 9.0, 4.0], min) == 3
    assert one_figure([3.0, None]) is None
    assert one_figure([]) is None


def test_rows_of_blocks() -> None:
    trials = [
        TrialFigure("b", 2, "s1", 5),
        TrialFigure("a", 1, "s1", 1),
        TrialFigure("a", 1, "s2", 3),
        TrialFigure("b", 1, "s1", 4),
        TrialFigure("c", 7, "s1", 9),
    ]
    assert by_block(trials, ["a", "b"]) == [[2, None, None], [4, 5, None]]
    assert by_block([], ["a"]) == [[]]
    with pytest.raises(UsageError, match="with itself"):
        by_block(trials, ["a", "a"])
