"""Guests that end by themselves, at rest, while viewers start, in a move and after it: seen at once, and named."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from tests.bad_days import A_TRY, assert_a_new_try_succeeds, mended, where_it_runs
from tests.deployments import Deployed, deployed
from tests.labs import quick
from tests.lengths import some_long
from tests.trials import Telling, make_trial
from whimbrel.deployment.moving import move
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import UnsafeStateError
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.moves.notes import Invocation
from whimbrel.records.store import StoredTrial

__all__ = ["deployed", "mended"]

POWER_OFF, REBOOT, PANIC = "poweroff -f", "reboot -f", "echo c >/proc/sysrq-trigger"
# A move that is slow enough for something to happen in its middle.
SLOW = ("migration.bandwidth=40 Mbit/s", "migration.timeout=120 s")
SEEN_WITHIN_S = 5.0


class Ender:
    """Ends the guest on host a or b ``after_s`` after the trial has said that it does ``step``."""

    def __init__(self, lab: Lab, step: str, command: str, after_s: float = 0.3, host: str = "a") -> None:
        self._lab = lab
        self._step = step
        self._command = command
        self._after_s = after_s
        self._host = host
        self._worker: threading.Thread | None = None
        self.ended_s = 0.0

    def told(self, step: str) -> None:
        print(f"{time.monotonic():.3f} {step}")
        if step.startswith(self._step) and self._worker is None:
            self._worker = threading.Thread(target=self._end, daemon=True)
            self._worker.start()

    def _end(self) -> None:
        uri = self._lab.hosts["a"].libvirt_uri if self._host == "a" else self._lab.hosts["b"].libvirt_uri
        with Connection.open(uri) as connection:
            domain = connection.find(self._lab.guest.uuid)
            assert domain is not None
            if self._command == "reset":
                time.sleep(self._after_s)
                self.ended_s = time.monotonic()
                connection.raw.lookupByUUIDString(domain.uuid).reset()
                return
            # Begun before a move has the guest to itself.
            script = f"sleep {self._after_s}; {self._command}"
            domain.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", script]})
            self.ended_s = time.monotonic() + self._after_s


def ended_trial(lab: Lab, states: StateStore, ender: Ender, folder: Path, *overrides: str, keep: bool = False) -> StoredTrial:
    """A trial whose guest ends; it is over soon after."""
    stored = make_trial(lab, states, quick(*A_TRY, *overrides), "vm", 2, folder, notice=ender.told, keep_on_failure=keep)
    over_s = time.monotonic()
    print(stored.record.outcome, stored.record.end)
    end = stored.record.end
    assert end is not None, stored.record.outcome
    assert -1.0 < end.seen_ns / 1e9 - ender.ended_s < SEEN_WITHIN_S, "seen too late"
    assert over_s - ender.ended_s < 4 * SEEN_WITHIN_S, "waited for what could not come"
    assert not stored.record.outcome.measured
    assert stored.record.outcome.error is not None
    assert end.how in stored.record.outcome.error
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3} UTC", stored.record.outcome.error)
    return stored


HOWS = {POWER_OFF: ("shut down", "Power down"), REBOOT: ("rebooted", "Restarting system"),
        PANIC: ("panicked", "sysrq_handle_crash"), "reset": ("was reset from outside", "")}  # fmt: skip


@pytest.mark.parametrize("command", some_long(list(HOWS), short=[PANIC, "reset"]))
def test_a_guest_that_ends_at_rest(mended: Lab, states: StateStore, command: str, tmp_path: Path) -> None:
    stored = ended_trial(mended, states, Ender(mended, "at rest", command), tmp_path / "ended", "observe.at_rest=20 s")
    end = stored.record.end
    assert end is not None
    assert (end.how, end.host, end.during) == (HOWS[command][0], "a", "at rest")
    assert end.left == "its QEMU has gone, and its memory with it"
    assert HOWS[command][1] in "\n".join(end.console)
    assert "shutting down, reason=" in "\n".join(end.qemu_log)
    assert (stored.record.outcome.result, stored.record.outcome.runs_on) == ("not made", [])


@pytest.mark.parametrize("command", some_long([POWER_OFF, PANIC], short=[POWER_OFF]))
def test_a_guest_that_ends_while_viewers_start(mended: Lab, states: StateStore, command: str, tmp_path: Path) -> None:
    ender = Ender(mended, "waiting for 2 viewers", command, 0.0)
    stored = ended_trial(mended, states, ender, tmp_path / "ended")
    end = stored.record.end
    assert end is not None
    assert end.how == HOWS[command][0]
    # On a quick machine they may play before it ends.
    assert end.during in ("waiting for 2 viewers to play", "watching before the move")


@pytest.mark.parametrize("command", some_long([POWER_OFF, REBOOT, PANIC], short=[PANIC]))
def test_a_guest_that_ends_during_pre_copy(mended: Lab, states: StateStore, command: str, tmp_path: Path) -> None:
    stored = ended_trial(mended, states, Ender(mended, "moving", command, 2.0), tmp_path / "ended", *SLOW)
    end, outcome = stored.record.end, stored.record.outcome
    assert end is not None
    assert (end.how, end.host, end.during) == (HOWS[command][0], "a", "moving to host b")
    assert (outcome.result, outcome.runs_on) == ("unsafe", [])
    assert outcome.runs_on == where_it_runs(mended)
    assert "in the phase pre-copy of its move" in (outcome.error or "")
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")


@pytest.mark.parametrize("command", some_long([POWER_OFF, REBOOT, PANIC], short=[REBOOT]))
def test_a_guest_that_ends_after_its_move(mended: Lab, states: StateStore, command: str, tmp_path: Path) -> None:
    ender = Ender(mended, "watching after the move", command, host="b")
    stored = ended_trial(mended, states, ender, tmp_path / "ended", "observe.after=20 s")
    end, outcome = stored.record.end, stored.record.outcome
    assert end is not None
    assert (end.how, end.host, end.during) == (HOWS[command][0], "b", "watching after the move")
    assert (outcome.result, outcome.runs_on) == ("unsafe", [])


def test_a_guest_that_panics_is_kept_where_that_is_asked_for(mended: Lab, states: StateStore, tmp_path: Path) -> None:
    ender = Ender(mended, "at rest", PANIC)
    stored = ended_trial(mended, states, ender, tmp_path / "ended", "observe.at_rest=20 s", keep=True)
    end = stored.record.end
    assert end is not None
    assert end.how == "panicked"
    assert end.left.startswith("its QEMU is kept on host a, with the memory as it was")
    with Connection.open(mended.hosts["a"].libvirt_uri) as connection:
        domain = connection.find(mended.guest.uuid)
        assert domain is not None
        assert domain.crashed
        assert domain.monitor("query-status")["status"] == "guest-panicked"
    assert mended.hosts["a"].state_of(mended.guest) == "absent"


@pytest.mark.long
def test_a_deployed_guest_that_panics_in_its_move(deployed: Deployed) -> None:
    with deployed.at_the_source() as guest:
        guest.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", f"sleep 3; {PANIC}"]})
    began_s = time.monotonic()
    moved = deployed.move("b", None, "bandwidth=4 MiB/s")
    assert time.monotonic() - began_s < 30
    assert isinstance(moved.error, UnsafeStateError)
    print(moved.error)
    assert "of its move the guest guest panicked, on host a at " in moved.error.brief
    record = moved.stored.record
    assert record.end is not None
    assert (record.end.how, record.end.during, record.outcome.runs_on) == ("panicked", "moving to host b", [])
    assert "sysrq_handle_crash" in "\n".join(record.end.console)
    with pytest.raises(UnsafeStateError):
        deployed.recover()
    where, steps = deployed.recover(boot_anew=True)
    print(steps)
    assert deployed.copies() == [where]


@pytest.mark.long
def test_a_deployed_guest_that_ends_after_its_move(deployed: Deployed) -> None:
    with deployed.at_the_source() as guest:
        script = f"until [ -e /run/go ]; do sleep 0.1; done; {POWER_OFF}"
        guest.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", script]})
    told: list[str] = []

    def step(words: str) -> None:
        told.append(words)
        if words == "watching after the move":
            with Connection.open(deployed.lab.hosts["b"].libvirt_uri) as connection:
                domain = connection.find(deployed.lab.guest.uuid)
                assert domain is not None
                domain.agent("guest-exec", {"path": "/bin/touch", "arg": ["/run/go"]})

    moved = move(deployed.deployment, deployed.lab, "b", deployed.deployment.spec.migration, deployed.folder / "out",
                 Invocation("test", None), Telling(step))  # fmt: skip
    assert "watching after the move" in told
    assert isinstance(moved.error, UnsafeStateError)
    assert moved.error.brief.startswith("tested had moved, but then the guest guest shut down, on host b at ")
    assert moved.error.brief.endswith("; no copy is left")
    assert "whimbrel recover tested --boot-anew" in moved.error.resolution
    assert moved.stored.record.outcome.runs_on == []
    assert moved.stored.record.outcome.result == "unsafe"
