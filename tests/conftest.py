from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.snapshot import snapshot

pytest_plugins = ["tests.labs"]

# A checkout may belong to somebody else: nothing is kept in it.
settings.register_profile("stateless", database=None)
settings.load_profile("stateless")

_HERE = Path(__file__).parent
_ON_THE_MACHINE = ("system", "lab", "contract")


def _touches_the_machine(item: pytest.Item) -> bool:
    return Path(item.path).relative_to(_HERE).parts[0] in _ON_THE_MACHINE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if _touches_the_machine(item):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that touches the machine, everything is as it was before."""
    if not _touches_the_machine(request.node) or os.geteuid() != 0:
        yield
        return
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab")
    before = snapshot()
    yield
    after = snapshot()
    for kind, things in before.items():
        assert after[kind] - things == set(), f"{kind} left behind"
