"""One call to libvirt that moves a guest, on a thread of its own: it returns when the move has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from whimbrel.engines.hypervisor import GuestMove, MoveOptions
from whimbrel.errors import EngineError
from whimbrel.migrate.technique import Journal


class MoveCall:
    """``options`` are asked for on the thread, as finding them out may take a while or fail."""

    def __init__(self, guest: GuestMove, options: Callable[[], MoveOptions], journal: Journal) -> None:
        self._guest = guest
        self._options = options
        self._journal = journal
        self.ended = threading.Event()
        self.error: EngineError | None = None
        self.returned_ns = 0

    def start(self) -> None:
        """Makes the call, and does not wait for it."""
        threading.Thread(target=self._call, name="move", daemon=True).start()

    def _call(self) -> None:
        try:
            self._guest.migrate(self._options())
        except EngineError as error:
            self.error = error
        except BaseException as error:  # a thread has nobody to raise to: it ends the move as a failure
            self.error = EngineError("the call that moves the guest broke", details=repr(error))
        finally:
            self.returned_ns = self._journal.note("move returned")
            self.ended.set()
