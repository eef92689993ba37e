"""Commands inside a guest through its QEMU guest agent: no network, no SSH, nothing on the measured link."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import GuestError, NoGuestError, RefusedError
from whimbrel.system.deadline import Deadline, wait_until, while_attending

_CHUNK_BYTES = 1 << 16
_ANSWER_S = 20
# Readings of the clock, as many as there is time for; the first is always made.
_CLOCK_READS = 7
READING_CLOCK_S = 0.03
# A clock is set again while it is off by more than this, so many times at most.
CLOCK_CLOSE_NS = 5_000_000
_CLOCK_SETTINGS = 3
# What is half written is never read.
_WRITE = 'cat >"$1.new" && mv "$1.new" "$1"'
# A job that is told to end has this long for it. How long it may run is its own business: a move may last for hours.
_END_OF_JOB_S = 40


@dataclass(frozen=True)
class ClockReading:
    """A guest's wall clock, read between ``asked_ns`` and ``answered_ns`` of our monotonic clock, the best of ``reads``."""

    guest_ns: int
    asked_ns: int
    answered_ns: int
    reads: int

    @property
    def took_ns(self) -> int:
        """How long the question and its answer took together."""
        return self.answered_ns - self.asked_ns


class GuestAgent:
    """What can be done inside one guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def _ask(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: int = _ANSWER_S) -> Any:
        # A guest that stands still does not answer, and the call lasts as long as it may.
        return while_attending(lambda: self._guest.agent(command, arguments, timeout_s))

    def wait(self, timeout_s: float) -> None:
        """Waits until the agent answers.

        GuestError when it does not, or its guest ends; SilentError when its host falls silent.
        """

        def look() -> tuple[bool | None, str]:
            try:
                self._ask("guest-ping", timeout_s=2)
            except NoGuestError as error:
                raise GuestError(f"{self._guest.name} ended while its agent was waited for", details=error.details) from error
            except RefusedError as error:
                return None, error.details
            return True, "answers"

        wait_until(look, f"an answer of the guest agent in {self._guest.name}", Deadline(timeout_s), error=GuestError)

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a program in the guest and returns what it printed; GuestError when it fails."""
        return self._run(command, timeout_s=timeout_s, check=check)

    def _run(self, command: Sequence[str], given: bytes = b"", *, timeout_s: float = 60, check: bool = True) -> str:
        asked = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
        if given:
            asked["input-data"] = base64.b64encode(given).decode()
        started = self._ask("guest-exec", asked)

        def look() -> tuple[dict[str, object] | None, str]:
            status = self._ask("guest-exec-status", {"pid": started["pid"]})
            return (status if status["exited"] else None), "still running"

        status = wait_until(look, f"the end of {command[0]} in the guest", Deadline(timeout_s), every_s=0.03, error=GuestError)
        stdout = _text(status.get("out-data"))
        if check and status.get("exitcode") != 0:
            raise GuestError(
                f"{' '.join(command)} failed in the guest with exit code {status.get('exitcode')}",
                details=(_text(status.get("err-data")) or stdout)[-2000:],
            )
        return stdout

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a line of shell in the guest."""
        return self.run(["/bin/sh", "-c", script], timeout_s=timeout_s, check=check)

    def write(self, path: str, text: str) -> None:
        """Writes a small file in the guest, over what is there."""
        self._run(["/bin/sh", "-c", _WRITE, "write", path], text.encode())

    def read(self, path: str) -> bytes:
        """A small file of the guest, without a process in it; GuestError when there is none."""
        try:
            handle = self._ask("guest-file-open", {"path": path, "mode": "r"})
        except RefusedError as error:
            raise GuestError(f"{path} cannot be read in the guest", details=error.details) from error
        try:
            content = b""
            while True:
                found = self._ask("guest-file-read", {"handle": handle, "count": _CHUNK_BYTES})
                content += base64.b64decode(found["buf-b64"])
                if found["eof"]:
                    return content
        finally:
            self._ask("guest-file-close", {"handle": handle})

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        """Starts a program as a unit of systemd: told to end, it ends what it has started, and what is left is killed."""
        self.run(["systemctl", "reset-failed", name], check=False)
        properties = (f"StandardError=file:{errors}", "KillMode=mixed", f"TimeoutStopSec={_END_OF_JOB_S}")
        options = ["--quiet", "--collect", f"--unit={name}", *(f"--property={each}" for each in properties)]
        self.run(["systemd-run", *options, *command])

    def job_runs(self, name: str) -> bool:
        """Whether the unit is active."""
        return self.run(["systemctl", "is-active", name], check=False).strip() in ("active", "activating")

    def end_job(self, name: str) -> None:
        """Stops the systemd unit in which the job runs."""
        self.run(["systemctl", "stop", name], check=False, timeout_s=_END_OF_JOB_S + 20)

    def time_ns(self) -> int:
        """The guest's wall clock."""
        return int(self._guest.agent("guest-get-time"))

    def read_clock(self) -> ClockReading:
        """The guest's wall clock: of several readings the one with the shortest way there and back."""
        found: list[ClockReading] = []
        enough = Deadline(READING_CLOCK_S)
        while len(found) < _CLOCK_READS and not (found and enough.passed):
            asked_ns = time.monotonic_ns()
            guest_ns = self.time_ns()
            found.append(ClockReading(guest_ns, asked_ns, time.monotonic_ns(), len(found) + 1))
        return replace(min(found, key=lambda reading: reading.took_ns), reads=len(found))

    def set_clock(self) -> None:
        """Sets the guest's wall clock to ours, by as much as it is off: so the order may take its time on its way.

        By date(1): the agent's own command wants hwclock, which a small guest lacks. A guest that waits for a processor between
        date's look at the clock and its setting is late by that long, so it is looked at again.
        """
        for _ in range(_CLOCK_SETTINGS):
            reading = self.read_clock()
            ours_ns = time.time_ns() - (time.monotonic_ns() - (reading.asked_ns + reading.answered_ns) // 2)
            off_ns = ours_ns - reading.guest_ns
            if abs(off_ns) <= max(reading.took_ns // 2, CLOCK_CLOSE_NS):
                return
            self.run(["/bin/date", "--set", f"{off_ns / 1e9:+.9f} seconds"])


def _text(encoded: object) -> str:
    if not isinstance(encoded, str):
        return ""
    try:
        return base64.b64decode(encoded).decode(errors="replace")
    except binascii.Error:
        return ""
