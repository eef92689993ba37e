"""Where whimbrel keeps what outlives a command: images, labs and their ledgers."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The top folder: ``$WHIMBREL_HOME``, else /var/lib/whimbrel (Filesystem Hierarchy Standard 5.8)."""
    return Path(os.environ.get("WHIMBREL_HOME", "/var/lib/whimbrel")).absolute()
