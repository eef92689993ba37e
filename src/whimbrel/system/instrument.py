"""A measuring program that runs beside us: ready before it is used, watched while it runs, and heard to its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from whimbrel.errors import InstrumentError
from whimbrel.events import Bus, Sample
from whimbrel.records.trial import Event, Source
from whimbrel.system.child import HELD, LET_GO, READINGS
from whimbrel.system.deadline import Deadline, attend
from whimbrel.system.process import Running, start

_READY_S = 30.0
_END_S = 30.0
_LOOK_S = 0.2

Line = dict[str, Any]


class Instrument:
    """Runs ``python -m module`` with a configuration; raises at exit when it died or failed.

    ``wrap`` turns a command into one that runs elsewhere, such as in the vantage's network. What it says of moments is published
    on ``bus``; so are its readings, as samples, where somebody listens to these when it starts.
    """

    def __init__(
        self,
        name: str,
        module: str,
        configuration: dict[str, Any],
        *,
        output: Path,
        log_file: Path,
        procs_files: Sequence[Path] = (),
        wrap: Callable[[Sequence[str]], Sequence[str]] = lambda argv: argv,
        bus: Bus | None = None,
    ) -> None:
        self.name = name
        self.output = output
        self._log_file = log_file
        self._procs_files = procs_files
        self._command = wrap([sys.executable, "-m", module, json.dumps({**configuration, "output": str(output)})])
        self._bus = bus or Bus()
        self._running: Running | None = None
        self._readers: list[threading.Thread] = []
        self._held = False
        self._entered = False
        self._told = False
        self._said: list[Line] = []
        self._news = threading.Condition()

    def load(self, holding: ExitStack) -> None:
        """Starts its program, which then waits until it is entered; it ends with ``holding``, entered or not.

        An interpreter's start takes longest, and several start in the time of one.
        """
        self._start({HELD: "yes"})
        holding.callback(self._drop)

    def wait_until_loaded(self) -> None:
        """Returns when its program does nothing but wait; InstrumentError when it cannot be had."""
        self._wait_to_hear("loaded")

    def _drop(self) -> None:
        if not self._entered and self._running is not None:
            self._running.stop(patience_s=1)

    def __enter__(self) -> Instrument:
        self._entered = True
        if self._running is None:
            self._start({})
        assert self._running is not None
        try:
            if self._held:
                self.wait_until_loaded()
                self._running.signal(LET_GO)
            self._wait_to_hear("ready")
        except BaseException:
            self._running.stop(patience_s=1)
            raise
        return self

    def _start(self, env: dict[str, str]) -> None:
        self._held = HELD in env
        reading, writing = _pipe() if self._bus.wants_samples else (None, None)
        try:
            self._running = start(
                self._command,
                stdout=True,
                log_file=self._log_file,
                cgroup_procs=self._procs_files,
                env={"PYTHONPATH": str(Path(__file__).parents[2]), **env, READINGS: "" if writing is None else str(writing)},
                pass_fds=() if writing is None else (writing,),
            )
        except BaseException:
            if reading is not None:
                os.close(reading)
            raise
        finally:
            if writing is not None:
                os.close(writing)
        self._begin_reading(self._read)
        if reading is not None:
            self._begin_reading(self._read_readings, reading)

    def _begin_reading(self, read: Callable[..., None], *arguments: int) -> None:
        reader = threading.Thread(target=read, args=arguments, name=f"read-{self.name}", daemon=True)
        reader.start()
        self._readers.append(reader)

    def _wait_to_hear(self, word: str) -> None:
        self.wait_for(lambda said: any(line["say"] == word for line in said), f"to be {word}", _READY_S)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self._running is not None
        died = self._running.exit_code if not self._told else None
        # A second SIGTERM would meet an interpreter that has put its handlers away.
        code = self._running.stop(patience_s=_END_S, ask=not self._told)
        for reader in self._readers:
            reader.join(_END_S)
        if kind is not None:
            return
        if died is not None:
            raise InstrumentError(f"the {self.name} ended in the middle, with exit code {died}", details=self._last_words())
        if code != 0:
            raise InstrumentError(f"the {self.name} failed with exit code {code}", details=self._last_words())

    def tell_to_end(self) -> None:
        """Lets it end while others do; InstrumentError when it already has."""
        assert self._running is not None
        self.check()
        self._told = True
        self._running.signal(signal.SIGTERM)

    def _read(self) -> None:
        assert self._running is not None
        for raw in self._running.stdout:
            try:
                line: Line = json.loads(raw)
            except json.JSONDecodeError:
                continue
            with self._news:
                self._said.append(line)
                self._news.notify_all()
            event = event_of(self.name, line)
            if event is not None:
                self._bus.publish(event)
        with self._news:
            self._news.notify_all()

    def _read_readings(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for raw in lines:
                # One that died in the middle of a line.
                with suppress(json.JSONDecodeError):
                    values = json.loads(raw)
                    self._bus.publish(Sample(self.name, values["t_ns"], values))

    @property
    def said(self) -> list[Line]:
        """Every line so far."""
        with self._news:
            return list(self._said)

    def check(self) -> None:
        """InstrumentError when the program no longer runs: a trial must not go on blind."""
        assert self._running is not None
        code = self._running.exit_code
        if code is not None:
            raise InstrumentError(f"the {self.name} ended in the middle, with exit code {code}", details=self._last_words())

    def wait_for(self, true: Callable[[list[Line]], bool], what: str, timeout_s: float) -> None:
        """Waits until what it has said makes ``true`` so; InstrumentError when it dies or time is up."""
        assert self._running is not None
        deadline = Deadline(timeout_s)
        with self._news:
            while not deadline.passed:
                attend()
                # Its last word may come before it can be seen to have ended, so we look from time to time.
                self._news.wait_for(lambda: true(self._said) or self.ended, min(_LOOK_S, deadline.left_s))
                if true(self._said):
                    return
                if self.ended:
                    break
        self.check()
        raise InstrumentError(f"waited {timeout_s:.0f} s for the {self.name} {what}", details=self._last_words())

    @property
    def ended(self) -> bool:
        """Whether its process has ended, of itself or as it was told to."""
        return self._running is not None and self._running.exit_code is not None

    @property
    def pid(self) -> int:
        """The process id of the instrument."""
        assert self._running is not None
        return self._running.pid

    @property
    def cost(self) -> Line:
        """The CPU time it says it took and its jitter; empty until it has ended."""
        costs = [line for line in self.said if line["say"] == "cost"]
        return {key: value for key, value in costs[-1].items() if key != "say"} if costs else {}

    def _last_words(self) -> str:
        text = self._log_file.read_text(errors="replace").strip() if self._log_file.exists() else ""
        said = "; ".join(str(line) for line in self.said[-3:])
        return f"last said: {said or 'nothing'}\n{text[-1500:]}".strip()


def event_of(name: str, line: Line) -> Event | None:
    """What an instrument said, as an event; None of what has no moment, or comes from one whose words are no events."""
    if "t_ns" not in line or name not in get_args(Source):
        return None
    data = {key: value for key, value in line.items() if key not in ("say", "t_ns")}
    return Event.model_validate(
        {"source": name, "host": None, "name": line["say"], "realtime_ns": None, "seen_ns": line["t_ns"], "data": data}
    )


def _pipe() -> tuple[int, int]:
    """A pipe whose reader may wait, and whose writer never does."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    return reading, writing
