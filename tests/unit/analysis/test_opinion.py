import math

import pytest

from whimbrel.analysis.opinion import stalling_mos


def test_no_stall_is_excellent_and_many_are_bad() -> None:
    assert stalling_mos(0, 0.0) == 5
    assert stalling_mos(50, 500.0) == pytest.approx(1.5, abs=1e-6)


def test_the_formula() -> None:
    assert stalling_mos(1, 3.0) == pytest.approx(3.5 * math.exp(-0.64) + 1.5)
    assert stalling_mos(2, 6.0) == pytest.approx(3.5 * math.exp(-1.28) + 1.5)
    assert stalling_mos(1, 4.0) < stalling_mos(1, 3.0) < stalling_mos(1, 0.1)
