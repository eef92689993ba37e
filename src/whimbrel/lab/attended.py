"""A program on a server that works beside us, and does not outlive us."""

from __future__ import annotations

import logging
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from whimbrel.errors import ToolError
from whimbrel.lab.server import Server
from whimbrel.system.process import Running, start
from whimbrel.system.scratch import scratch_folder

log = logging.getLogger(__name__)

# The way into a server is a process that waits outside for the program inside, and killing it would leave that behind. So each
# ends with its parent (setpriv(1)): the program with the one that waits, and that with us, also when we are killed.
_ENDS_WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
_PATIENCE_S = 10.0
_LAST_CHARACTERS = 2000


class Attended:
    """A program that was started on a server."""

    def __init__(self, program: str, running: Running, words: Path) -> None:
        self._program = program
        self._running = running
        self._words = words

    def ended(self, within_s: float) -> bool:
        """Whether it has ended well by then; ToolError with its last words when it failed."""
        code = self._running.wait(within_s)
        if code is None:
            return False
        if code != 0:
            said = self._words.read_text(errors="replace")[-_LAST_CHARACTERS:].strip()
            raise ToolError(f"{self._program} failed with exit code {code}", details=said or "it printed nothing")
        return True

    def end(self) -> None:
        """Ends it, and waits until it has gone."""
        self._running.signal(signal.SIGTERM)
        # Both hold the other end of this pipe: it hangs up when the program has gone as well.
        poll = select.poll()
        poll.register(self._running.stdout, 0)
        if not poll.poll(_PATIENCE_S * 1000):
            log.warning("%s was killed %.0f s ago and has not gone", self._program, _PATIENCE_S)
        self._running.stop(_PATIENCE_S, ask=False)


@contextmanager
def attended(server: Server, command: Sequence[str]) -> Iterator[Attended]:
    """Starts a program inside, counted with what the server itself takes; it is ended with the block."""
    with scratch_folder() as folder:
        words = folder / "words"
        inside = server.command([*_ENDS_WITH_ITS_PARENT, *command])
        program = Attended(command[0], start([*_ENDS_WITH_ITS_PARENT, *inside], stdout=True, log_file=words), words)
        try:
            yield program
        finally:
            program.end()
