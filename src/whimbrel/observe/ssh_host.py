"""A host's CPU, memory and network by SSH: one shell there prints what /proc says, once a second. Nothing is installed.

Formats: proc_stat(5), proc_meminfo(5), proc_pid_net(5), and /sys/class/net, whose links with a device carry what leaves the host.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.events import Bus, Sample
from whimbrel.records.series import HOSTS_SCHEMA, HostRow
from whimbrel.system.process import Running, start

EVERY_S = 1.0
# A sample later than that after the one before leaves a hole.
HOLE_S = 3.0
_FIRST_S = 20.0
_AGAIN_S = 2.0
_JOIN_S = 5.0
_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:\]-]*")
_END = "end of a sample"
# It ends with the connection: writing into one that is closed kills a shell.
_SCRIPT = f"""
getconf CLK_TCK; for link in /sys/class/net/*/device; do link=${{link%/device}}; echo "link ${{link##*/}}"; done
while :; do head -n 1 /proc/stat; cat /proc/meminfo /proc/net/dev; echo {_END}; sleep {EVERY_S:g}; done
"""
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=2", "ServerAliveCountMax=3")


class SshHost:
    """Samples one host from ``open`` to ``close``, and publishes what it reads; a connection that is lost is made anew."""

    def __init__(self, destination: str, bus: Bus) -> None:
        if not _DESTINATION.fullmatch(destination):
            raise UsageError(f"--host {destination!r} is no host", resolution="write user@host, or a name of your ssh_config(5)")
        self.name = destination
        self._bus = bus
        # As ``HOSTS_SCHEMA``, with the host's name as the subject.
        self.rows: list[HostRow] = []
        self._ended = threading.Event()
        self._first = threading.Event()
        self._running: Running | None = None
        self._words = ""
        self._thread = threading.Thread(target=self._run, name=f"ssh {destination}", daemon=True)

    def open(self) -> None:
        """Waits for the first sample; UsageError, with what ssh said, when none comes."""
        self._thread.start()
        until_s = time.monotonic() + _FIRST_S
        while not self._first.wait(0.1):
            if self._words or time.monotonic() > until_s:
                self.close()
                raise UsageError(
                    f"the host {self.name} does not answer by ssh",
                    details=self._words or f"nothing within {_FIRST_S:g} s",
                    resolution=f"'ssh -o BatchMode=yes {self.name} true' must work without a password; add its key to your agent",
                )

    def _run(self) -> None:
        while not self._ended.is_set():
            self._connect()
            self._ended.wait(_AGAIN_S)

    def _connect(self) -> None:
        """One connection, from its first sample to its end."""
        options = [word for option in _OPTIONS for word in ("-o", option)]
        with tempfile.TemporaryDirectory(prefix="whimbrel-") as folder:
            log_file = Path(folder) / "ssh.log"
            self._running = start(["ssh", "-T", *options, "--", self.name, _SCRIPT], stdout=True, log_file=log_file)
            try:
                self._read(self._running)
            finally:
                code = self._running.stop(_JOIN_S)
                said = log_file.read_text(errors="replace").strip().splitlines()
        self._words = f"{' '.join(said[-2:])} (exit code {code})"

    def _read(self, running: Running) -> None:
        sample = _Sample()
        for line in running.stdout:
            if self._ended.is_set():
                return
            row = sample.take(line.decode(errors="replace").strip(), self.name)
            if row is not None:
                self.rows.append(row)
                self._bus.publish(Sample("sampler", time.monotonic_ns(), row))
                self._first.set()

    def close(self) -> None:
        """Ends the shell there, and the connection."""
        self._ended.set()
        if self._running is not None:
            with suppress(OSError):
                self._running.kill_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)


class _Sample:
    """Lines of one connection, until a sample is whole."""

    def __init__(self) -> None:
        self._ticks_per_s: int | None = None
        self._links: set[str] = set()
        self._lines: list[str] = []

    def take(self, line: str, host: str) -> HostRow | None:
        """A row when the line ends a sample that can be read; None before, and of one that is damaged."""
        if self._ticks_per_s is None:
            self._ticks_per_s = int(line) if line.isdigit() else None
        elif line.startswith("link "):
            self._links |= {line.removeprefix("link ")} - {"*"}
        elif line != _END:
            self._lines.append(line)
        else:
            lines, self._lines = self._lines, []
            with suppress(KeyError, IndexError, ValueError):
                return self._row(lines, host, self._ticks_per_s)
        return None

    def _row(self, lines: list[str], host: str, ticks_per_s: int) -> HostRow:
        fields = next(line for line in lines if line.startswith("cpu ")).split()[1:]
        # user, nice, system, irq, softirq: what guests of its own take is in "user".
        busy = sum(int(fields[at]) for at in (0, 1, 2, 5, 6))
        values = {key: value.split() for key, _, value in (line.partition(":") for line in lines) if value}
        kib = {key: int(values[key][0]) for key in ("MemTotal", "MemAvailable", "Cached")}
        counted = self._links & values.keys() or values.keys() - kib.keys() - {"lo"}
        links = [values[name] for name in counted if len(values[name]) == 16]
        row: HostRow = dict.fromkeys(HOSTS_SCHEMA)
        return row | {
            "t_ns": time.monotonic_ns(),
            "subject": host,
            "cpu_s": busy / ticks_per_s,
            "memory_bytes": (kib["MemTotal"] - kib["MemAvailable"]) * 1024,
            "cache_bytes": kib["Cached"] * 1024,
            "net_received_bytes": sum(int(link[0]) for link in links) if links else None,
            "net_sent_bytes": sum(int(link[8]) for link in links) if links else None,
        }
