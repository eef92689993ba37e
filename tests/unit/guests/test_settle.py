from __future__ import annotations

import itertools

import pytest

from whimbrel.errors import GuestError
from whimbrel.guests.saving import is_flat, settle


def test_flat_is_five_alike() -> None:
    assert not is_flat([0, 0, 0, 0])
    assert is_flat([9, 0, 1, 2, 0, 1])
    assert not is_flat([0, 0, 3, 0, 0])
    assert is_flat([100, 110, 105, 95, 100])


def test_settling_reads_until_flat() -> None:
    readings = iter([40, 12, 0, 0, 1, 0, 0, 7])
    assert settle(lambda: next(readings)) == [40, 12, 0, 0, 1, 0, 0]


def test_a_guest_that_never_settles_is_an_error() -> None:
    readings = itertools.cycle([0, 50])
    with pytest.raises(GuestError, match="did not settle"):
        settle(lambda: next(readings))
