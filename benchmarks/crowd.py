"""How many viewers one core carries at 2.5 Mbit/s, all in our one process, against a process of VLC for each."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.origin import URL, Origin, native_origin
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.process import start

BITRATE_BYTES_PER_S = 2.5e6 / 8
LENGTH_S = 120.0
WATCHED_S = 15.0
# What is sent ahead comes at once.
BURST_S = 6.0
MOST_JITTER_MS = 5.0


@dataclass(frozen=True)
class Crowd:
    """What a number of viewers took: cores, and how late the player itself was (None for others' players)."""

    viewers: int
    cores: float
    jitter_p99_ms: float | None

    @property
    def per_core(self) -> float:
        """Viewers that one core would carry at this cost."""
        return self.viewers / self.cores


def ours(origin: Origin, viewers: int) -> Crowd:
    """All viewers in one process of ours."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = {"url": URL, "viewers": viewers, "read_ahead_s": 3.0, "length_s": LENGTH_S}
        player = Instrument(
            "player", "whimbrel.stream.player", configuration, output=Path(folder) / "packets.parquet",
            log_file=Path(folder) / "log", wrap=origin.inside,
        )  # fmt: skip
        with player:
            player.wait_for(lambda said: sum(line["say"] == "playing" for line in said) >= viewers, "to play", 60)
            pause(BURST_S)
            before_s, began_s = _cpu_s(player.pid), time.monotonic()
            pause(WATCHED_S)
            used_s, took_s = _cpu_s(player.pid) - before_s, time.monotonic() - began_s
        return Crowd(viewers, used_s / took_s, player.cost["jitter_p99_ms"])


def vlc_command() -> list[str] | None:
    """Debian's VLC without window or sound; None where it is not installed. It refuses to run as root."""
    if shutil.which("cvlc") is None:
        return None
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp", "cvlc", "--intf", "dummy",
            "--quiet", "--vout", "dummy", "--aout", "dummy", "--no-audio", "--no-video-title-show", URL]  # fmt: skip


def theirs(origin: Origin, viewers: int) -> Crowd | None:
    """A VLC process for each viewer; CPU time from proc_pid_stat(5) of the processes themselves."""
    command = vlc_command()
    if command is None:
        return None
    running = [start(origin.inside(command)) for _ in range(viewers)]
    try:
        pause(BURST_S)
        before_s, began_s = sum(_cpu_s(process.pid) for process in running), time.monotonic()
        pause(WATCHED_S)
        used_s, took_s = sum(_cpu_s(process.pid) for process in running) - before_s, time.monotonic() - began_s
    finally:
        for process in running:
            process.stop()
    return Crowd(viewers, used_s / took_s, None)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def find_most(note: Callable[[str], None], start_at: int = 100, most: int = 700) -> tuple[list[Crowd], Crowd | None]:
    """More and more viewers until the player itself is more than 5 ms late, or there are ``most``; and VLC with ten."""
    found: list[Crowd] = []
    with tempfile.TemporaryDirectory() as folder, native_origin(Path(folder), BITRATE_BYTES_PER_S, LENGTH_S) as origin:
        viewers = start_at
        while viewers <= most:
            found.append(ours(origin, viewers))
            note(f"{found[-1]}")
            if (found[-1].jitter_p99_ms or 0.0) > MOST_JITTER_MS:
                break
            viewers += start_at
        return found, theirs(origin, 10)
