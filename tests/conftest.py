from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.snapshot import snapshot
from whimbrel.cli.lab import gc

pytest_plugins = ["tests.labs", "tests.deployments", "tests.bad_days"]

# A checkout may belong to somebody else: nothing is kept in it.
settings.register_profile("stateless", database=None)
settings.load_profile("stateless")

_HERE = Path(__file__).parent
_ON_THE_MACHINE = ("system", "lab", "contract", "calibration")


def _touches_the_machine(item: pytest.Item) -> bool:
    return Path(item.path).relative_to(_HERE).parts[0] in _ON_THE_MACHINE


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also the long tests")
    parser.addoption("--passed", type=Path, help="file of tests that have passed before: they are left out, new ones are added")


def _passed_before(config: pytest.Config) -> set[str]:
    file: Path | None = config.getoption("--passed")
    return set(file.read_text().splitlines()) if file is not None and file.exists() else set()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown" and report.passed and _passed_file is not None and report.nodeid not in _not_passed:
        with _passed_file.open("a") as file:
            file.write(f"{report.nodeid}\n")
    elif not report.passed:
        _not_passed.add(report.nodeid)


_not_passed: set[str] = set()
_passed_file: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _passed_file
    _passed_file = config.getoption("--passed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    passed = _passed_before(config)
    left_out = [
        item for item in items
        if item.nodeid in passed or (item.get_closest_marker("long") is not None and not config.getoption("--all"))
    ]  # fmt: skip
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if os.geteuid() != 0:
        for item in items:
            if _touches_the_machine(item):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def nothing_from_before() -> None:
    """What commands killed earlier have left goes first: the tests that call gc would take it too, and be blamed for it."""
    gc()


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that touches the machine, everything is as it was before."""
    if not _touches_the_machine(request.node) or os.geteuid() != 0:
        yield
        return
    request.getfixturevalue("nothing_from_before")
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab")
    before = snapshot()
    yield
    after = snapshot()
    for kind, things in before.items():
        assert after[kind] - things == set(), f"{kind} left behind"
