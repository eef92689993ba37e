from __future__ import annotations

import pytest

from whimbrel.errors import InstrumentError
from whimbrel.observe.host_clock import offset_from


def test_the_offset_is_what_all_readings_agree_on() -> None:
    found = offset_from("host b", [(40, 60), (150, 190)], [150, 260])
    assert (found.offset_ns, found.offset_error_ns) == (100, 10)


@pytest.mark.parametrize(("calls", "stamps"), [([(0, 10)], []), ([], []), ([(0, 10), (100, 110)], [5, 1105])])
def test_readings_that_do_not_agree_are_refused(calls: list[tuple[int, int]], stamps: list[int]) -> None:
    with pytest.raises(InstrumentError, match="clock of host b"):
        offset_from("host b", calls, stamps)
