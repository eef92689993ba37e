"""When what was started can be asked: once each of its ports takes connections."""

from __future__ import annotations

from collections.abc import Sequence

from whimbrel.hosts.inside import Inside

_TRIES = 300
_TIMEOUT_S = 60.0


def wait_for_ports(inside: Inside, ports: Sequence[int]) -> None:
    """Waits until every port takes connections in there; GuestError when one does not in half a minute."""
    if ports:
        inside.shell(waiting_for(" ".join(map(str, ports))), timeout_s=_TIMEOUT_S)


def waiting_for(ports: str, within: str = "") -> str:
    """A line of shell that waits for ports, in words of shell; ``within`` comes before a command, to run it elsewhere."""
    ask = f"{within} bash -c 'exec 3<>/dev/tcp/127.0.0.1/$0' $port".strip()
    patience = f"do i=$((i+1)); [ $i -lt {_TRIES} ] || exit 1; sleep 0.1; done"
    return f"for port in {ports}; do i=0; until {ask} 2>/dev/null; {patience}; done"
