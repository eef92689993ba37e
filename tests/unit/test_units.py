from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.units import format_bytes, format_duration, format_rate, parse_bytes, parse_duration, parse_rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1 GiB", 2**30), ("1GiB", 2**30), ("1.5 KiB", 1536), ("2 MB", 2_000_000), ("7 B", 7), (" 3  TiB ", 3 * 2**40)],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("200 Mbit/s", 25e6), ("1 Gbit/s", 125e6), ("8 bit/s", 1), ("1 MiB/s", 2**20), ("1 Gibit/s", 2**27)]
)
def test_rates(text: str, expected: float) -> None:
    assert parse_rate(text) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("300 ms", 0.3), ("2 min", 120), ("5 us", 5e-6), ("1.5 h", 5400)])
def test_durations(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "5", "GiB", "-1 GiB", "nan s", "inf s", "1e3 s", "0x10 B", "1,5 GiB", "5 parsecs", "1 gib", "1 GiB/s", "١ s"]
)
def test_what_is_no_size_or_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_bytes(text)
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_duration(text)


def test_a_number_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_duration("9" * 400 + " h")


@given(st.integers(min_value=1, max_value=2**49))
def test_a_formatted_size_reads_back_to_about_itself(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=1e-3)


@given(st.floats(min_value=1e-3, max_value=0.99))
def test_a_formatted_short_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-3)


def test_formats_read_well() -> None:
    assert format_rate(25e6) == "200 Mbit/s"
    assert format_duration(90) == "1 min 30 s"
    assert format_duration(3600) == "1 h"
    assert format_duration(59.999) == "60 s"
