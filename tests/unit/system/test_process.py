from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from whimbrel.errors import CapabilityError, ToolError, TrialError
from whimbrel.events import Bus, Published, Sample
from whimbrel.records.trial import Event
from whimbrel.system.child import READINGS, Readings
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.instrument import Instrument
from whimbrel.system.process import ProcessId, run, start


def test_a_failure_comes_with_its_last_words() -> None:
    with pytest.raises(ToolError, match="exit code 3") as caught:
        run(["sh", "-c", "echo what went wrong >&2; exit 3"])
    assert "what went wrong" in caught.value.details


def test_a_missing_program_is_a_missing_capability() -> None:
    with pytest.raises(CapabilityError, match="not installed"):
        run(["no-such-program-anywhere"])


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(ToolError, match="did not end"):
        run(["sleep", "30"], timeout_s=0.2)


def test_a_child_is_stopped_even_when_it_does_not_want_to() -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    running = start([sys.executable, "-c", stubborn], stdout=True)
    assert running.stdout.readline() == b"1\n"
    assert running.stop(patience_s=0.3) == -signal.SIGKILL


def test_a_process_is_known_by_number_and_start() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.alive
    assert not ProcessId(me.pid, me.start_ticks + 1).alive


def test_another_process_with_the_number_is_left_alone() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        real = ProcessId.of(child.pid)
        assert real is not None
        ProcessId(real.pid, real.start_ticks + 1).kill()
        assert child.poll() is None
        assert real.kill()
        assert child.wait(5) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


def test_a_wait_that_fails_says_what_it_last_saw() -> None:
    with pytest.raises(TrialError, match="the moon did not happen within 0 s") as caught:
        wait_until(lambda: (None, "only clouds"), "the moon", Deadline(0.05))
    assert "only clouds" in caught.value.details


def instrument(tmp_path: Path, body: str, name: str = "gauge", bus: Bus | None = None) -> Instrument:
    module = tmp_path / "measured.py"
    module.write_text("from whimbrel.system.child import Child\nchild = Child()\n" + body)
    return Instrument(
        name, "measured", {}, output=tmp_path / "out", log_file=tmp_path / "log",
        wrap=lambda argv: ["env", "-C", str(tmp_path), *argv], bus=bus,
    )  # fmt: skip


def test_an_instrument_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with instrument(tmp_path, "child.say('ready')\nwhile not child.wait(1): pass\nchild.say_cost([0.001, 0.003])\n") as gauge:
        gauge.check()
    assert gauge.cost["cpu_s"] is not None
    assert (gauge.cost["jitter_p50_ms"], gauge.cost["jitter_p99_ms"]) == (3, 3)


READS = """
from whimbrel.system.child import Readings
readings = Readings()
child.say('ready')
child.say('listened to', yes=readings.due(0))
number = 0
while not child.wait(0.01):
    readings.give(t_ns=number, read=number)
    number += 1
child.say('dropped', readings=readings.dropped)
"""


def test_an_instrument_hands_on_what_it_sees_while_it_sees_it(tmp_path: Path) -> None:
    got: list[Published] = []
    with Bus() as bus:
        bus.subscribe("page", got.extend)
        with instrument(tmp_path, READS, bus=bus):
            wait_until(lambda: (len(got) > 5 or None, "nothing"), "readings", Deadline(20))
    readings = [each for each in got if isinstance(each, Sample)]
    assert [each.source for each in readings] == ["gauge"] * len(got)
    assert [dict(each.values) for each in readings] == [{"t_ns": n, "read": n, "dropped": 0} for n in range(len(got))]


def test_an_instrument_to_which_nobody_listens_hands_nothing_on(tmp_path: Path) -> None:
    with Bus() as bus:
        bus.subscribe("terminal", lambda news: None, samples=False)
        with instrument(tmp_path, READS, bus=bus) as gauge:
            gauge.wait_for(lambda said: len(said) > 1, "to look", 20)
    assert [line for line in gauge.said if line["say"] == "listened to"] == [{"say": "listened to", "yes": False}]


def test_readings_that_nobody_takes_are_counted_and_hold_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monkeypatch.setenv(READINGS, str(writing))
    readings = Readings()
    for number in range(2000):
        readings.give(t_ns=number, text="x" * 1000)
    readings.give(t_ns=2000, text="x" * 5000)
    taken = 0
    while readings.dropped and b'"t_ns": 2001' not in (data := os.read(reading, 1 << 20)):
        taken += data.count(b"\n")
        readings.give(t_ns=2001)
    assert taken + readings.dropped == 2001
    assert f'"dropped": {readings.dropped}}}'.encode() in data
    os.close(reading)
    readings.give(t_ns=2002)
    assert not readings.due(10**18)
    os.close(writing)


def test_what_a_player_says_of_a_moment_is_an_event(tmp_path: Path) -> None:
    got: list[Published] = []
    body = "child.say('ready')\nchild.say('lost', viewer=3, t_ns=7)\nwhile not child.wait(1): pass\n"
    with Bus() as bus:
        bus.subscribe("page", got.extend)
        with instrument(tmp_path, body, "player", bus) as player:
            player.wait_for(lambda said: len(said) > 1, "to lose", 20)
    assert got == [Event(source="player", host=None, name="lost", realtime_ns=None, seen_ns=7, data={"viewer": 3})]


def test_an_instrument_that_dies_is_an_error_at_once_and_at_exit(tmp_path: Path) -> None:
    with (
        pytest.raises(TrialError, match="gauge ended in the middle") as caught,
        instrument(tmp_path, "child.say('ready')\nraise SystemExit('no more ink')\n") as gauge,
    ):
        wait_until(lambda: (gauge.ended or None, "alive"), "its death", Deadline(10))
    assert "no more ink" in caught.value.details


def test_a_loaded_instrument_waits_until_it_is_entered(tmp_path: Path) -> None:
    work = "open('begun', 'w').close()\nchild.say('ready')\nwhile not child.wait(1): pass\nchild.say_cost([])\n"
    gauge, spare = instrument(tmp_path, work), instrument(tmp_path, work)
    with ExitStack() as holding:
        for each in (gauge, spare):
            each.load(holding)
            each.wait_until_loaded()
        pid = ProcessId.of(spare.pid)
        assert pid is not None
        assert not (tmp_path / "begun").exists()
        with gauge:
            assert (tmp_path / "begun").exists()
            gauge.check()
        assert gauge.cost["cpu_s"] is not None
        assert pid.alive
    # One that was never wanted ends with what it was loaded for, and has done nothing.
    assert not pid.alive
    assert [line["say"] for line in spare.said] == ["loaded"]


def test_an_instrument_that_cannot_be_loaded_is_an_error_when_it_is_wanted(tmp_path: Path) -> None:
    gauge = instrument(tmp_path, "")
    (tmp_path / "measured.py").write_text("raise SystemExit('no ink')\n")
    with ExitStack() as holding:
        gauge.load(holding)
        with pytest.raises(TrialError, match="gauge ended in the middle") as caught, gauge:
            pass
    assert "no ink" in caught.value.details


def test_an_instrument_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="ended in the middle"), instrument(tmp_path, "raise SystemExit(7)\n"):
        pass


def test_a_terminal_s_ctrl_c_does_not_reach_what_we_run() -> None:
    assert run([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]).stdout == "True\n"


def test_what_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="did not end within"):
        run(["sh", "-c", "sleep 60 & echo $! >$0; wait", tmp_path / "pid"], timeout_s=0.5)
    inner = int((tmp_path / "pid").read_text())
    wait_until(lambda: (ProcessId.of(inner) is None or None, "still there"), "the end of the inner one", Deadline(10))
