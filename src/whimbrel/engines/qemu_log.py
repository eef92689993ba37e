"""What QEMU's log of a guest says of the guest's last start. Pure."""

from __future__ import annotations

import datetime
import re

# libvirt writes, for each start, "2026-11-29 09:02:38.927+0000: starting up libvirt version: ...", then QEMU's command line.
_START = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+0000): starting up libvirt version.*$", re.MULTILINE)
_MOST_LINES = 15


def words_since(log: str, since_s: float) -> str:
    """What it says of the last start, when that was not before ``since_s`` (the host's wall clock): its last lines, without the
    command line; nothing of an older start.
    """
    starts = list(_START.finditer(log))
    if not starts or _seconds(starts[-1].group(1)) < since_s:
        return ""
    lines = log[starts[-1].end() :].strip().splitlines()
    command = next((number for number, line in enumerate(lines) if not line.endswith("\\")), len(lines))
    return "\n".join(lines[command + 1 :][-_MOST_LINES:])


def _seconds(stamp: str) -> float:
    return datetime.datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f%z").timestamp()
