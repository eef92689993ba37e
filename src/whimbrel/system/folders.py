"""Where whimbrel keeps what outlives a command: images, labs and their ledgers. All of it is root's own.

Guests' disks and memory lie there, the sockets of libvirts that do whatever they are told, and Debian trees whose programs
for root's rights are never updated.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from whimbrel.errors import CapabilityError

_ROOMS = ("images", "labs", "ledger", "bookings", "deployments", "trials", "doctor", "scratch")


def home() -> Path:
    """The top folder: ``$WHIMBREL_HOME``, else /var/lib/whimbrel (Filesystem Hierarchy Standard 5.8)."""
    return Path(os.environ.get("WHIMBREL_HOME", "/var/lib/whimbrel")).absolute()


def user_state() -> Path:
    """What a user's own moves leave: ``$XDG_STATE_HOME/whimbrel`` (XDG Base Directory Specification 0.8)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute() / "whimbrel"


def bookings_folder() -> Path:
    """Root's lie with all else that is root's, a user's with the user."""
    return (home() if os.geteuid() == 0 else user_state()) / "bookings"


def make_private(folder: Path) -> None:
    """Makes a folder that its owner alone may enter, whatever the umask; one that is there is closed to all others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) != 0o700:
        folder.chmod(0o700)


def close_store() -> None:
    """Closes all that is kept to other users, as older versions left it open."""
    for name in _ROOMS:
        if (home() / name).is_dir():
            make_private(home() / name)


def need_to_see(folder: Path, what: str) -> None:
    """CapabilityError when the folder is there, but not for us: what is in it is unknown then, not nothing."""
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise CapabilityError(f"only root may see {what}", resolution="run the command with sudo")
