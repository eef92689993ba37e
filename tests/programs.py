"""The small programs that run in guests, compiled for this machine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from whimbrel.system.process import run


def compiled(name: str, folder: Path) -> Path:
    """``folder`` keeps what was made."""
    source = folder / f"{name}.c"
    source.write_text((files("whimbrel.images") / "programs" / source.name).read_text())
    run(["gcc", "-O2", "-pthread", "-o", folder / name, source])
    return folder / name
