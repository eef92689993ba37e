"""The dirtier against what each of its patterns must come to: how many pages it writes, how many different ones in a window."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.calibration.table import say
from tests.programs import compiled
from whimbrel.system.deadline import pause

pytestmark = pytest.mark.alone

PAGE = 4096
PAGES = 4096
RATE_PAGES_PER_S = 2048.0
WINDOW_S = 1.0


def of_some(written: float, pages: float) -> float:
    """How many different ones of so many pages are met by writes at random: P (1 - exp(-n / P))."""
    return pages * (1 - math.exp(-written / pages))


def of_hot_and_cold(written: float) -> float:
    """Nine writes of ten go to a tenth of the pages, and the tenth to any page."""
    hot = PAGES / 10
    return of_some(0.91 * written, hot) + of_some(0.09 * written, PAGES - hot)


EXPECTED: dict[str, Callable[[float], float]] = {
    "sequential": lambda written: min(written, PAGES),
    "uniform": lambda written: of_some(written, PAGES),
    "hot-cold": of_hot_and_cold,
}


@pytest.fixture(scope="module")
def dirtier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("dirtier", tmp_path_factory.mktemp("dirtier"))


def memory_of(pid: int) -> np.ndarray:
    """Its working set, a row per page: the largest mapping that belongs to no file."""
    largest = (0, 0)
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        ends, *rest = line.split()
        start, end = (int(part, 16) for part in ends.split("-"))
        if len(rest) == 4 and end - start > largest[1] - largest[0]:
            largest = start, end
    assert largest[1] - largest[0] >= PAGES * PAGE
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(largest[0])
        return np.frombuffer(memory.read(largest[1] - largest[0]), dtype=np.uint8).reshape(-1, PAGE)


@pytest.mark.parametrize("pattern", list(EXPECTED))
def test_pages_are_written_at_the_rate_and_in_the_pattern_that_was_asked_for(dirtier: Path, pattern: str) -> None:
    words = [str(dirtier), str(RATE_PAGES_PER_S * PAGE), str(PAGES * PAGE), pattern]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        began_s = time.monotonic()
        pause(0.2)
        before, before_s = memory_of(running.pid), time.monotonic()
        pause(WINDOW_S)
        after, after_s = memory_of(running.pid), time.monotonic()
        running.send_signal(signal.SIGTERM)
        written = int(running.stdout.readline().removeprefix("written "))
        ended_s = time.monotonic()
    changed = int((before != after).any(axis=1).sum())
    expected = EXPECTED[pattern](RATE_PAGES_PER_S * (after_s - before_s))
    say(f"pages changed in {after_s - before_s:.2f} s, {pattern}", expected, changed, "pages")
    say(f"pages written, {pattern}", RATE_PAGES_PER_S * (ended_s - began_s), written, "pages")
    assert changed == pytest.approx(expected, rel=0.1)
    assert written == pytest.approx(RATE_PAGES_PER_S * (ended_s - began_s), rel=0.1)
