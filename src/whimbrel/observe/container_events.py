"""What happens to a container of this machine, by its engine's own words: podman's or docker's events, or runc's state.

Formats: podman-events(1) with ``--format json``, docker's ``events --format '{{json .}}'``, runc-state(8).
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import suppress
from typing import Any

from whimbrel.errors import UsageError
from whimbrel.system.process import Running, run, start

_FORMATS = {"podman": "json", "docker": "{{json .}}"}
# A program that is run in it, as a check of its health, changes nothing of it.
_NOTHING = ("exec", "health")
# runc tells no events of a container's life: its state is asked for.
_ASK_S = 0.2
_JOIN_S = 5.0


class ContainerEvents:
    """Listens from ``open`` to ``close``; ``seen`` are moments (ns of the monotonic clock) and the engine's words."""

    def __init__(self, name: str) -> None:
        if not name or name.startswith("-"):
            raise UsageError(f"--container {name!r} is no name of a container")
        self.name = name
        self.seen: list[tuple[int, str]] = []
        self._ended = threading.Event()
        self._running: Running | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Finds the engine that has it; UsageError when none has."""
        engine = next((name for name in _FORMATS if _knows([name, "container", "inspect", self.name])), None)
        if engine is not None:
            events = [engine, "events", "--filter", f"container={self.name}", "--format", _FORMATS[engine]]
            self._running = start(events, stdout=True)
        elif not _knows(["runc", "state", self.name]):
            raise UsageError(
                f"there is no container {self.name!r} on this machine",
                details=f"{', '.join(_FORMATS)} and runc were asked, as far as they are installed",
                resolution="name one that runs, as the user who runs it",
            )
        follow = self._read if engine is not None else self._ask
        self._thread = threading.Thread(target=follow, name=f"events of {self.name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._running is not None
        # The pipe is closed under us when we are told to end.
        with suppress(ValueError, OSError):
            for line in self._running.stdout:
                status = _status(line)
                if status and not status.startswith(_NOTHING):
                    self.seen.append((time.monotonic_ns(), status))

    def _ask(self) -> None:
        last = self._state()
        while not self._ended.wait(_ASK_S):
            state = self._state()
            if state != last:
                self.seen.append((time.monotonic_ns(), state))
            last = state

    def _state(self) -> str:
        said = run(["runc", "state", self.name], check=False)
        return str(json.loads(said.stdout).get("status")) if said.exit_code == 0 else "absent"

    def close(self) -> None:
        """Ends the listening, and whoever tells of events."""
        self._ended.set()
        if self._running is not None:
            self._running.kill_all()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        if self._running is not None:
            self._running.stop(ask=False)


def _knows(command: list[str]) -> bool:
    return shutil.which(command[0]) is not None and run(command, check=False).exit_code == 0


def _status(line: bytes) -> str:
    """An event's word, such as ``checkpoint`` or ``died``; empty where there is none."""
    try:
        event: Any = json.loads(line)
    except ValueError:
        return ""
    found = next((event[key] for key in ("Status", "status", "Action") if event.get(key)), "") if isinstance(event, dict) else ""
    return str(found)
