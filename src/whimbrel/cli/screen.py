"""Places on a terminal where something is shown that changes, while others go on to print above it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text


class Screen(Protocol):
    """One such place; where ``console`` is no terminal nothing is shown in it."""

    console: Console

    def show(self, shown: RenderableType) -> None:
        """Shows this, and no longer what was shown before."""

    def clear(self) -> None:
        """Shows nothing, until there is something again."""


class OwnScreen:
    """A place of its own, which is made when there is something to show. Implements ``Screen``, for any thread."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, markup=False)
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._closed = False

    def show(self, shown: RenderableType) -> None:
        """See ``Screen``; once it is closed nothing is shown."""
        with self._lock:
            if self._closed:
                return
            if self._live is None:
                self._live = Live(console=self.console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(shown, refresh=True)

    def clear(self) -> None:
        """Shows nothing, until there is something again."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def close(self) -> None:
        """Gives the terminal back as it was."""
        with self._lock:
            self._closed = True
        self.clear()


@contextmanager
def own_screen() -> Iterator[OwnScreen]:
    """One that is closed in the end, whatever happens."""
    made = OwnScreen()
    try:
        yield made
    finally:
        made.close()


class Above:
    """Prints what a program says line by line above a screen, on which its own bytes would leave their traces."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Some more of it; what is no whole line yet waits for the rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._print(line)

    def end(self) -> None:
        """Nothing more will come."""
        if self._rest:
            self._print(self._rest)
        self._rest = b""

    def _print(self, line: bytes) -> None:
        # Colours stay; of a line that was written over, such as a percentage, the last state does.
        self._console.print(Text.from_ansi(line.rstrip(b"\r").decode(errors="replace")))
