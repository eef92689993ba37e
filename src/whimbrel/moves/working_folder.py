"""The folder into which a trial, or a move by hand, writes while it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whimbrel.system.folders import home, make_private
from whimbrel.system.ledger import Ledger


@contextmanager
def working_folder(ledger: Ledger, order: int) -> Iterator[Path]:
    """Makes the folder for the trial, or the move by hand, of this number; it goes with the block. Only root may enter it."""
    folder = home() / "trials" / f"{ledger.name}-{order:04d}"
    entry = ledger.add("folder", str(folder))
    entry.undo()
    make_private(folder.parent)
    make_private(folder)
    try:
        yield folder
    finally:
        ledger.undo(entry)
