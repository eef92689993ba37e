"""Whether we are root, for what needs it."""

from __future__ import annotations

import os

from whimbrel.errors import CapabilityError
from whimbrel.records.caller import note_umask

_SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def settle_in() -> None:
    """Makes root's process alike whoever became root and how: what it makes, others may read, and it finds root's programs.

    ``su`` without ``-`` keeps a user's PATH. With a umask of 077 nginx could not read the film that is made for it.
    """
    if os.geteuid() != 0:
        return
    note_umask(os.umask(0o022))
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(folder for folder in _SYSTEM_PROGRAMS if folder not in path)])


def need_root(what: str) -> None:
    """CapabilityError when we are not root."""
    if os.geteuid() != 0:
        raise CapabilityError(f"{what} needs root", resolution="run the command with sudo")
