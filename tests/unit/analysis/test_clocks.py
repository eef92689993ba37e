from __future__ import annotations

from whimbrel.analysis.clocks import Conversion


def conversion(first_offset_ns: int, last_offset_ns: int) -> Conversion:
    return Conversion(1_000, first_offset_ns, 2_000, last_offset_ns, reading_error_ns=7)


def test_a_steady_clock_converts_by_its_offset() -> None:
    steady = conversion(400, 400)
    assert steady.to_monotonic_ns(1_500) == 1_100
    assert steady.error_ns == 7


def test_a_drifting_clock_is_interpolated_and_its_drift_is_error() -> None:
    drifting = conversion(400, 500)
    assert drifting.to_monotonic_ns(1_500) == 1_500 - 450
    assert drifting.error_ns == 107


def test_outside_the_readings_the_nearer_offset_holds() -> None:
    drifting = conversion(400, 500)
    assert drifting.to_monotonic_ns(0) == -400
    assert drifting.to_monotonic_ns(9_000) == 8_500
