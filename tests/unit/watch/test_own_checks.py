"""The checks of a user's own service, as an instrument of its trial: heard like players, and kept like a watch's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.service import Service, running_service
from whimbrel.analysis.watched import check_figures
from whimbrel.errors import InstrumentError
from whimbrel.events import Bus, Published, Sample
from whimbrel.moves import instruments
from whimbrel.moves.instruments import play, said_by
from whimbrel.system.instrument import Instrument

COUNT = Path(__file__).parents[3] / "scenarios" / "count.py"


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def asking(folder: Path, checks: list[object], bus: Bus | None = None) -> Instrument:
    given = {"checks": checks, "address": "127.0.0.1", "viewers": len(checks)}
    return Instrument(
        "checks", "whimbrel.watch.as_instrument", given, output=folder / "checks.parquet", log_file=folder / "checks.log", bus=bus
    )


def test_a_pause_of_the_service_is_the_gap_of_its_checks(service: Service, tmp_path: Path) -> None:
    checks: list[object] = [
        f"http://{{address}}:{service.ports['http']}/#web,rate=100",
        {"url": f"tcp://{{address}}:{service.ports['echo']}", "name": "echo", "rate": 100, "send": "ping"},
    ]
    seen: list[Published] = []
    with Bus() as bus, ExitStack() as holding:
        bus.subscribe("test", seen.extend)
        instrument = asking(tmp_path, checks, bus)
        play(instrument, 2, holding)
        time.sleep(0.6)
        called_ns = time.monotonic_ns()
        os.kill(service.running.pid, signal.SIGSTOP)
        time.sleep(0.8)
        os.kill(service.running.pid, signal.SIGCONT)
        returned_ns = time.monotonic_ns()
        time.sleep(0.6)
        instrument.tell_to_end()
    record: Any = _Record(said_by([instrument]), called_ns, returned_ns)
    found = check_figures(record, pl.read_parquet(tmp_path / "checks.parquet"))
    assert [each.failed for each in found] == [0, 0]
    for each in found:
        assert each.longest_gap_s is not None
        assert 0.8 <= each.longest_gap_s < 1.3
    # Whoever looks on while it lasts sees them too.
    samples = [news for news in seen if isinstance(news, Sample)]
    assert {sample.source for sample in samples} == {"checks"}
    assert {name for sample in samples for name in sample.values["results"]} == {"web", "echo"}
    assert "silent" in {state for sample in samples for state in sample.values["states"].values()}


class _Record:
    """As much of a trial's record as the figures of checks are derived from."""

    def __init__(self, events: list[Any], called_ns: int, returned_ns: int) -> None:
        self.events = events
        self.instruments: list[Any] = []
        self.move = type("Move", (), {"called_ns": called_ns, "returned_ns": returned_ns})


def test_one_that_is_never_answered_says_what_it_met_with(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "PLAYING_S", 3.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"tcp://{{address}}:{nobody.getsockname()[1]}"
        instrument = asking(tmp_path, [f"http://{{address}}:{service.ports['http']}/", closed])
        with pytest.raises(InstrumentError) as caught, ExitStack() as holding:
            play(instrument, 2, holding)
    assert caught.value.details.startswith("1 of 2 viewers never played: refused")


class _Counter(threading.Thread):
    """A Redis, as far as counting takes one; ``lost`` takes one number away."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 6379))
        self.value = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as lines:
                for line in lines:
                    if line.startswith(b"GET"):
                        text = str(self.value).encode()
                        lines.write(b"$%d\r\n%s\r\n" % (len(text), text) if self.value else b"$-1\r\n")
                    else:
                        self.value += 1
                        lines.write(b":%d\r\n" % self.value)
                    lines.flush()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_the_counting_client_notices_a_number_that_is_lost() -> None:
    try:
        counter = _Counter()
    except OSError:
        pytest.skip("something listens on port 6379 here")
    counter.start()
    client = subprocess.Popen(
        [sys.executable, COUNT, "redis", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert client.stdout is not None
        assert [client.stdout.readline() for _ in range(5)] == ["1\n", "2\n", "3\n", "4\n", "5\n"]
        counter.value -= 1
        _, words = client.communicate(timeout=10)
        assert client.returncode == 1
        assert "were counted, and" in words
    finally:
        client.kill()
        client.wait()
        counter.close()
