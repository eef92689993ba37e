"""Other users than the one who runs the tests, wherever the tree lies and whoever owns it."""

from __future__ import annotations

import os
from pathlib import Path

# May read every file (access(2) says so too), and nothing else: the tree may lie in a home that only its owner may enter.
_MAY_READ = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--securebits=+no_setuid_fixup"]


def without_root() -> list[str]:
    """What to put before a command that is to run as an ordinary user, but must read the tree."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *_MAY_READ]


def same_users(pid: int) -> None:
    """Gives a process that has just made a user namespace the users and groups that there are here, under the same numbers.

    With root alone in it (``unshare --map-root-user``) it could not enter a tree that another user owns.
    """
    for which in ("uid_map", "gid_map"):
        ours = [line.split() for line in Path(f"/proc/self/{which}").read_text().splitlines()]
        Path(f"/proc/{pid}/{which}").write_text("".join(f"{first} {first} {count}\n" for first, _, count in ours))
