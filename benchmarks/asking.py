"""100 checks of 20 questions a second at one nginx: ours against hey and wrk, and our ICMP against ``ping -D``, in one run."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.origin import Origin, native_origin
from whimbrel.system.deadline import pause
from whimbrel.system.process import Running, start

URL = "http://127.0.0.1/hls/film.m3u8"
CHECKS, RATE_PER_S = 100, 20
# Loading, connecting and the first answers are left out.
BEGIN_S, MEASURED_S, END_S = 5.0, 10.0, 2.0
_SOURCE = str(Path(__file__).parents[1] / "src")


@dataclass(frozen=True)
class Asked:
    """Requests per second that were answered, and the cores that this took on the asking side."""

    per_s: float
    cores: float

    @property
    def per_core(self) -> float:
        """Requests per second that one core would ask at this cost."""
        return self.per_s / self.cores


@dataclass(frozen=True)
class Pinged:
    """The typical time until an echo was answered, in ms, and the cores that asking took."""

    typical_ms: float
    cores: float


def _measured(running: Running, output: Path) -> tuple[float, str]:
    """Cores in use while it was in full swing, and what it printed in the end."""
    try:
        pause(BEGIN_S)
        before_s, began_s = _cpu_s(running.pid), time.monotonic()
        pause(MEASURED_S)
        cores = (_cpu_s(running.pid) - before_s) / (time.monotonic() - began_s)
        running.wait(60)
    finally:
        running.stop()
    return cores, output.read_text()


def _cpu_s(pid: int) -> float:
    """Of the process and of those that it has started and waited for (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def _run(origin: Origin, command: Sequence[str], folder: Path, name: str) -> tuple[float, str]:
    """``command`` in the origin's network; nsenter becomes it, so that its number is that of the program."""
    output = folder / name
    with output.open("wb"):
        pass
    return _measured(start(origin.inside(command), log_file=output, env={"PYTHONPATH": _SOURCE}), output)


def _ours(origin: Origin, folder: Path, checks: Sequence[str], name: str) -> tuple[float, list[dict[str, Any]]]:
    file = folder / f"{name}.yaml"
    file.write_text("checks:\n" + "".join(f"  - {check}\n" for check in checks))
    total_s = BEGIN_S + MEASURED_S + END_S
    watch = [sys.executable, "-m", "whimbrel", "watch", "--json", "--checks", str(file), "--for", f"{total_s:.0f}s"]
    cores, said = _run(origin, watch, folder, name)
    found: list[dict[str, Any]] = json.loads(said[said.index("{") :])["checks"]
    return cores, found


def ask(origin: Origin, folder: Path) -> Asked:
    """100 checks of ours."""
    checks = [f"{URL}#check-{number},rate={RATE_PER_S}" for number in range(CHECKS)]
    cores, found = _ours(origin, folder, checks, "ours")
    return Asked(sum(check["answers_per_s"]["during"] for check in found), cores)


def _by_peer(origin: Origin, folder: Path, name: str, command: Sequence[str]) -> Asked | None:
    if shutil.which(name) is None:
        return None
    cores, said = _run(origin, command, folder, name)
    rate = re.search(r"Requests/sec:\s*([0-9.]+)", said)
    return Asked(float(rate[1]), cores) if rate is not None else None


def compare(note: Callable[[str], None]) -> tuple[Asked, dict[str, Asked | None], Pinged, Pinged | None]:
    """Ours, its peers by name (None where they are not installed), our ICMP and ping's."""
    total = f"{BEGIN_S + MEASURED_S + END_S:.0f}"
    with tempfile.TemporaryDirectory() as name, native_origin(Path(name), 125e3, 60.0) as origin:
        folder = Path(name)
        note("100 checks of ours")
        ours = ask(origin, folder)
        note("hey and wrk")
        peers = {
            "hey": _by_peer(origin, folder, "hey", ["hey", "-z", f"{total}s", "-c", str(CHECKS), "-q", str(RATE_PER_S), URL]),
            "wrk": _by_peer(origin, folder, "wrk", ["wrk", "-t", "1", "-c", str(CHECKS), "-d", f"{total}s", URL]),
        }
        note("ICMP")
        cores, found = _ours(origin, folder, ["icmp:127.0.0.1#rate=100"], "icmp")
        icmp = Pinged(found[0]["latency_s"]["during"]["p50"] * 1e3, cores)
        ping = None
        if shutil.which("ping") is not None:
            cores, said = _run(origin, ["ping", "-D", "-i", "0.01", "-w", total, "127.0.0.1"], folder, "ping")
            times_ms = sorted(float(each) for each in re.findall(r"time=([0-9.]+) ms", said))
            ping = Pinged(times_ms[len(times_ms) // 2], cores)
    return ours, peers, icmp, ping
