"""Which cases of a test are for every check, and which for the long ones (``--all``)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def some_long(cases: Iterable[Any], short: Container[Any]) -> list[Any]:
    """The cases, all but the ``short`` ones marked ``long``."""
    return [case if case in short else pytest.param(case, marks=pytest.mark.long) for case in cases]
