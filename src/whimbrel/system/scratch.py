"""A folder for as long as it takes: gone at its end, and by ``gc`` after a kill."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whimbrel.system.folders import home, make_private
from whimbrel.system.ledger import Ledger


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that only its maker can enter. Root's is in a ledger; who is not root has none."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory(prefix="whimbrel-") as name:
            yield Path(name)
        return
    with Ledger.once("scratch") as ledger:
        make_private(home() / "scratch")
        folder = home() / "scratch" / ledger.name
        ledger.add("folder", str(folder))
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            ledger.undo_all()
