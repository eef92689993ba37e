"""Memory kept at hand between trials, so that starting a guest does not wait for this machine's own host.

A virtual machine may give memory that is free back to its host (free page reporting, virtio-balloon, within 2 s of rest)
and must ask for it again at the first touch. On such a machine a guest of 439 MiB takes 1.9 s to restore after a pause
of 6 s, and 0.65 s when it finds memory that was used a moment ago. What a guest leaves is therefore taken by us, in the
huge pages that QEMU asks for too, and let go just before the next one starts.
"""

from __future__ import annotations

import contextlib
import mmap

_HUGE_PAGE_BYTES = 2 * 2**20


class StandbyMemory:
    """Memory of this process that nobody uses; nothing is held during a trial."""

    def __init__(self) -> None:
        self._held: mmap.mmap | None = None

    @property
    def held_bytes(self) -> int:
        """How much is held now."""
        return len(self._held) if self._held is not None else 0

    def hold(self, size_bytes: int) -> None:
        """Holds at least this much; what is held already stays."""
        if size_bytes <= self.held_bytes:
            return
        self.release()
        memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # A kernel without huge pages refuses; then each page that is touched below is a small one, and little is gained.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, size_bytes, _HUGE_PAGE_BYTES):
            memory[offset] = 1
        self._held = memory

    def release(self) -> None:
        """Gives all of the memory back to the machine."""
        if self._held is not None:
            self._held.close()
            self._held = None
