"""What the link between the hosts gives right before a move: a short transfer over it, timed by the side that receives.

One process holds both ends: a socket belongs to the network in which it was made, so each end is made in the network of its
host. Run as ``python -m whimbrel.observe.link_check`` with ``{"from_pid", "to_pid", "address", "for_s"}``.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time

from whimbrel.system.child import Child, configuration

_CLONE_NEWNET = 0x40000000
_CHUNK_BYTES = 1 << 16
# A link that is shaped lets a burst through before it keeps to its rate.
_BURST_S = 0.1
_PATIENCE_S = 10.0


def rate_bytes_per_s(from_pid: int, to_pid: int, address: str, for_s: float) -> float | None:
    """Payload per second over a TCP connection from one process's network to an address in the other's.

    The first tenth of a second is not counted; None when nothing came after it.
    """
    with _made_in(to_pid) as listening:
        listening.bind((address, 0))
        listening.listen(1)
        with _made_in(from_pid) as sending:
            sending.connect(listening.getsockname())
            receiving = listening.accept()[0]
            receiving.settimeout(_PATIENCE_S)
            sender = threading.Thread(target=_send, args=(sending, _BURST_S + for_s), daemon=True)
            sender.start()
            with receiving:
                rate = _receive(receiving)
            sender.join(_PATIENCE_S)
    return rate


def _made_in(pid: int) -> socket.socket:
    """A TCP socket in the network of a process. The caller's thread is left in that network."""
    with open(f"/proc/{pid}/ns/net") as network:  # noqa: PTH123 - a descriptor is wanted, not a path
        # os.setns is new in Python 3.12.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(network.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"the network of process {pid} cannot be entered")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(_PATIENCE_S)
    return made


def _send(sending: socket.socket, for_s: float) -> None:
    chunk = os.urandom(_CHUNK_BYTES)
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        sending.sendall(chunk)
    sending.shutdown(socket.SHUT_WR)


def _receive(receiving: socket.socket) -> float | None:
    began_s: float | None = None
    counted_bytes = 0
    first_s = last_s = time.monotonic()
    while received := len(receiving.recv(_CHUNK_BYTES)):
        last_s = time.monotonic()
        if began_s is not None:
            counted_bytes += received
        elif last_s - first_s >= _BURST_S:
            began_s = last_s
    return counted_bytes / (last_s - began_s) if began_s is not None and last_s > began_s else None


def main() -> None:
    """Measures once, says the rate, and waits until told to end."""
    child = Child()
    wanted = configuration()
    child.say("ready")
    try:
        child.say(
            "rate", bytes_per_s=rate_bytes_per_s(**{key: wanted[key] for key in ("from_pid", "to_pid", "address", "for_s")})
        )
    except OSError as error:
        child.say("rate", bytes_per_s=None, error=str(error))
    while not child.wait(1.0):
        pass


if __name__ == "__main__":
    main()
