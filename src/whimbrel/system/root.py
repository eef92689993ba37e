"""Whether we are root, for what needs it."""

from __future__ import annotations

import os

from whimbrel.errors import CapabilityError


def need_root(what: str) -> None:
    """CapabilityError when we are not root."""
    if os.geteuid() != 0:
        raise CapabilityError(f"{what} needs root", resolution="run the command with sudo")
