"""Whatever is to be seen while it happens, made beside us: an observer that hands all of it to a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from whimbrel.events import Published
from whimbrel.live.address import Address, names_of, url_of
from whimbrel.live.lines import to_lines
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import Running, start
from whimbrel.system.scratch import scratch_folder
from whimbrel.trace_parent import TraceParent

# Longer than it waits for its pages.
_END_S = 10.0
_STUCK_S = 1.0


@dataclass(frozen=True)
class Wanted:
    """Where the page and the metrics are served, the file for node_exporter, and the collector that spans are sent to.

    None for what is not wanted.
    """

    live: Address | None = None
    metrics: Address | None = None
    metrics_file: Path | None = None
    spans: str | None = None

    def __bool__(self) -> bool:
        return any(each is not None for each in (self.live, self.metrics, self.metrics_file, self.spans))


class Beside:
    """The process; ``observe`` is an observer for a bus, and its failure is that observer's alone.

    ``urls`` says what can be seen where. Entering it raises UsageError when an address cannot be had; leaving it, once the bus is
    closed, lets pages that are open go on to the ``report``.
    """

    def __init__(self, wanted: Wanted, title: str) -> None:
        self.urls: dict[str, str] = {}
        self.report: Path | None = None
        # Once it has ended, what it complained of.
        self.said: list[str] = []
        parent = TraceParent.read(os.environ.get("TRACEPARENT"))
        # The span of all that we do, for whatever we start.
        self.trace_parent = parent.within() if parent is not None else TraceParent.new()
        self._within = parent
        self._wanted = wanted
        self._title = title
        self._until_end = ExitStack()
        self._folder = Path()
        self._running: Running | None = None
        self._pipe = -1
        # Held while something is written: the pipe is not closed under it.
        self._writing = threading.Lock()

    def __enter__(self) -> Beside:
        with ExitStack() as ours, ExitStack() as until_end:
            procs_files = until_end.enter_context(_own_group())
            self._folder = until_end.enter_context(scratch_folder())
            live, metrics = (
                ours.enter_context(address.listen()) if address is not None else None
                for address in (self._wanted.live, self._wanted.metrics)
            )
            token = secrets.token_urlsafe(24) if self._wanted.live is not None and not self._wanted.live.is_local else None
            reading, self._pipe = os.pipe()
            ours.callback(os.close, reading)
            self._running = start(
                [sys.executable, "-m", "whimbrel.live.serving", str(reading)],
                log_file=self._folder / "log",
                env={"PYTHONPATH": str(Path(__file__).parents[2]), "PROMETHEUS_DISABLE_CREATED_SERIES": "true"},
                cgroup_procs=procs_files,
                pass_fds=[reading, *(each.fileno() for each in (live, metrics) if each is not None)],
            )
            if live is not None:
                self.urls["live page"] = url_of(live) + ("/" if token is None else f"/?token={token}")
            if metrics is not None:
                self.urls["metrics"] = url_of(metrics) + "/metrics"
            file = self._wanted.metrics_file
            # Not among its arguments, which everybody on the machine can read.
            self._write(json.dumps({
                "title": self._title, "began_ns": time.monotonic_ns(), "token": token,
                "names": names_of(live) if live is not None and token is None else [],
                "live_fd": None if live is None else live.fileno(), "metrics_fd": None if metrics is None else metrics.fileno(),
                "metrics_file": None if file is None else str(file.absolute()),
                "spans": self._wanted.spans, "root": str(self.trace_parent),
                "parent": None if self._within is None else str(self._within),
            }).encode() + b"\n")  # fmt: skip
            self._until_end = until_end.pop_all()
        return self

    @property
    def makes_spans(self) -> bool:
        """Whether a trace is sent."""
        return self._wanted.spans is not None

    @property
    def pid(self) -> int:
        """The process id of what runs beside us."""
        assert self._running is not None
        return self._running.pid

    def observe(self, news: Sequence[Published]) -> None:
        """Hands it on; OSError when the process has ended, with its last words."""
        try:
            self._write(to_lines(news))
        except BrokenPipeError as error:
            words = self._log.splitlines()
            raise BrokenPipeError(f"its process has ended: {words[-1] if words else 'it said nothing'}") from error

    @property
    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace").strip()

    def _write(self, data: bytes) -> None:
        with self._writing:
            while data:
                data = data[os.write(self._pipe, data) :]

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with self._until_end:
            self._end()
            self.said = self._log.splitlines()

    def _end(self) -> None:
        assert self._running is not None
        if self._writing.acquire(timeout=_STUCK_S):
            self._writing.release()
            with suppress(OSError):
                self._write(json.dumps({"end": str(self.report) if self.report is not None else None}).encode() + b"\n")
        else:
            # It stands still, and so does whoever writes to it.
            self._running.stop(patience_s=_STUCK_S)
        with self._writing:
            os.close(self._pipe)
        if self._running.wait(_END_S) is None:
            self._running.signal(signal.SIGKILL)
        self._running.stop(ask=False)


@contextmanager
def _own_group() -> Iterator[Sequence[Path]]:
    """A control group for nothing else, so that what it costs is seen; only root can have one."""
    if os.geteuid() != 0:
        yield ()
        return
    with Ledger.once("live") as ledger:
        group = Cgroup(f"live/{os.getpid()}")
        ledger.add("cgroup", group.name)
        try:
            group.create(cpus=machine_cpus(), memory_bytes=None)
            yield group.procs_files
        finally:
            ledger.undo_all()
