"""What tells this installation of whimbrel from every other: a random number, made once and kept."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from whimbrel.durable import flush, replace_text
from whimbrel.errors import UsageError
from whimbrel.system.folders import home


def installation_id() -> uuid.UUID:
    """The number, made when it is first asked for; UsageError when it was kept and cannot be read."""
    file = home() / "installation"
    if not file.exists():
        _make(file)
    text = file.read_text()
    try:
        return uuid.UUID(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{file} is damaged: {text[:40]!r} is no UUID",
            details="guests and files on hosts by URI are named after it",
            resolution=f"restore it from a backup; or run 'whimbrel gc --all', then remove {file}",
        ) from error


def _make(file: Path) -> None:
    """Whole on disk before it has its name; of two processes that make it at once, the first one's counts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    replace_text(fresh, f"{uuid.uuid4()}\n")
    with contextlib.suppress(FileExistsError):
        file.hardlink_to(fresh)
    fresh.unlink()
    flush(file.parent)
