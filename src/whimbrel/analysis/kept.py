"""Figures that are kept beside the record they were derived from (``derived.json``), so that nobody derives them twice.

They count only where they are what would be derived now: from the very same record and series, by the same code. Whatever else
lies there, of an older whimbrel, of another trial, or changed by hand, is derived anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl

import whimbrel
from whimbrel.analysis.figures import SERIES, TrialFigures, figures_of
from whimbrel.records.store import StoredTrial, write_json

# All that a figure comes from, but for the record itself.
_SOURCES = ("analysis", "records", "services", "spec", "units.py")


class KeptFigures(TrialFigures):
    """What ``derived.json`` holds. ``checksum`` is over the figures, what they were derived from, and the code that did it."""

    checksum: str


def kept_figures(stored: StoredTrial) -> TrialFigures:
    """A stored trial's figures: those that are kept, or else derived, and kept where we may write."""
    if stored.record_sha256 is None:
        # Not what lies on disk.
        return figures_of(stored)
    source = _source(stored)
    figures = _read(stored.folder / "derived.json", source)
    if figures is None:
        figures = figures_of(stored)
        if source == _source(stored):
            _keep(stored.folder / "derived.json", figures, source)
    return figures


def _source(stored: StoredTrial) -> str:
    """What figures of the trial are derived from, and by what: unlike for all that is not the same."""
    return " ".join([CODE_SHA256, str(stored.record_sha256), *(_sha256(stored.file_of(name)) for name in SERIES)])


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        # Not there, as series of older records; who derives figures says what else is wrong.
        return type(error).__name__


def code_sha256(top: Path) -> str:
    """Of the code in this package folder that figures come from: releases and commits differ in it only where figures may."""
    found = hashlib.sha256(f"numpy {np.__version__}, polars {pl.__version__}".encode())
    for name in _SOURCES:
        for file in sorted((top / name).rglob("*.py")) if (top / name).is_dir() else [top / name]:
            found.update(f"\n{file.relative_to(top)}\n".encode() + file.read_bytes())
    return found.hexdigest()


# Now, and not when it is first asked for: the code on disk may be another by then, as a campaign takes days.
CODE_SHA256 = code_sha256(Path(whimbrel.__file__).parent)


def _checksum(figures: TrialFigures, source: str) -> str:
    return hashlib.sha256(f"{source} {figures.model_dump_json()}".encode()).hexdigest()


def _read(file: Path, source: str) -> TrialFigures | None:
    try:
        content = json.loads(file.read_bytes())
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        figures = TrialFigures.model_validate(content)
    except (OSError, ValueError, RecursionError):
        return None
    return figures if checksum == _checksum(figures, source) else None


def _keep(file: Path, figures: TrialFigures, source: str) -> None:
    content = json.loads(figures.model_dump_json())
    # Results of another user are shown, not written.
    with contextlib.suppress(OSError):
        write_json(file, content | {"checksum": _checksum(figures, source)}, lasting=False)
