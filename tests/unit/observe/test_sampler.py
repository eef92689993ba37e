"""What the machine's CPU time is taken from."""

import os
import time

import pytest

from whimbrel.observe import sampler

# Two processors over one second, as was seen once: both were idle for 1.93 s, and yet 92 ticks were charged to programs.
_BEFORE = """cpu  10000 0 5000 200000 300 0 40 7 0 0
cpu0 5000 0 2500 100000 150 0 20 4 0 0
cpu1 5000 0 2500 100000 150 0 20 3 0 0
intr 1
"""
_AFTER = """cpu  10062 0 5028 200193 300 0 42 7 0 0
cpu0 5031 0 2514 100097 150 0 21 4 0 0
cpu1 5031 0 2514 100096 150 0 21 3 0 0
intr 2
"""


def test_time_charged_while_the_processors_were_idle_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a quiet machine would look half busy, and its trials spoilt."""

    def cpu_s(stat: str, now_s: float) -> float:
        monkeypatch.setattr(sampler, "read_text", lambda _path: stat)
        monkeypatch.setattr(time, "monotonic", lambda: now_s)
        found = sampler.read_machine(0)["cpu_s"]
        assert isinstance(found, float)
        return found

    assert cpu_s(_AFTER, 501.0) - cpu_s(_BEFORE, 500.0) == pytest.approx(0.07)


def test_the_machines_own_time_is_read() -> None:
    """From this machine's real counters: it has been busy, and not for longer than there was."""
    found = sampler.read_machine(0)["cpu_s"]
    assert isinstance(found, float)
    assert 0 < found <= time.monotonic() * (os.cpu_count() or 1)
