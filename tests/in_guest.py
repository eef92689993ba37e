"""A line of shell in a guest, by its agent, as a command of its own: ``python -m tests.in_guest URI UUID SCRIPT``."""

from __future__ import annotations

import sys

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection


def main() -> None:
    uri, uuid, script = sys.argv[1:]
    with Connection.open(uri) as connection:
        guest = connection.find(uuid)
        assert guest is not None, uuid
        sys.stdout.write(GuestAgent(guest).shell(script, timeout_s=180))


if __name__ == "__main__":
    main()
