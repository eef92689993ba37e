from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests.snapshot import snapshot
from whimbrel.cli.lab import gc

pytest_plugins = ["tests.labs", "tests.cells", "tests.deployments", "tests.bad_days", "tests.their_hosts"]

# A checkout may belong to somebody else: nothing is kept in it. And what else the machine does is no fault of a test's.
settings.register_profile("anywhere", database=None, deadline=None)
settings.load_profile("anywhere")
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"hypothesis-of-{os.getuid()}")

_HERE = Path(__file__).parent
_ON_THE_MACHINE = ("system", "lab", "contract", "calibration")


def _touches_the_machine(item: pytest.Item) -> bool:
    return Path(item.path).relative_to(_HERE).parts[0] in _ON_THE_MACHINE


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


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
    # Who runs us with nohup, or in the background, has these ignored, and so would have all that we start.
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # Where tests run in several processes, the one that hears of all of them writes.
    _passed_file = None if hasattr(config, "workerinput") else config.getoption("--passed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No other test, in whatever process, runs beside one that measures, from its fixtures on."""
    with Path(__file__).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    passed = _passed_before(config)
    left_out = [
        item for item in items
        if item.nodeid in passed or (item.get_closest_marker("long") is not None and not config.getoption("--all"))
    ]  # fmt: skip
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if _touches_the_machine(item) and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
    # First what others can run beside, then what measures: by then the others have ended.
    items.sort(key=lambda item: 2 if not _touches_the_machine(item) else 1 if _is_alone(item) else 0)


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
