"""Asks the witness (images/programs/witness.c) whether what arrived is what left: keeps a connection to it throughout the move.

Run as ``python -m whimbrel.observe.witness`` with ``{"address", "port"}``. Says ``hears`` once numbered messages come; told to
end, it asks for a verification and says ``verified``: what the witness found, and what its connection went through.
With ``hears`` goes a verification, too: how it was before.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import asdict, dataclass

from whimbrel.system.child import Child, Looks, configuration
from whimbrel.system.deadline import pause

_PATIENCE_S = 15.0
_RETRY_S = 0.1
# A connection that nobody takes is waited for a second, and the loop with it.
_HOLE_S = 2.0
_VERIFIED = re.compile(r"verified pages=(\d+) wrong=(\d+) generation=(\d+) counter=(\d+) file=(\d+) started=(\d+)")


@dataclass
class Heard:
    """What came over the connection: messages, how many numbers were left out or came twice, and the counter's ends.

    ``went_back`` says whether the counter ever did; ``connections`` is how many it took.
    """

    messages: int = 0
    misnumbered: int = 0
    first_counter: int | None = None
    last_counter: int | None = None
    went_back: bool = False
    connections: int = 0


class Listener:
    """A client of the witness that takes note of every message."""

    def __init__(self, address: str, port: int) -> None:
        self._at = (address, port)
        self._socket: socket.socket | None = None
        self._number = 0
        self._rest = b""
        self.heard = Heard()

    def connect(self) -> bool:
        """Connects when it is not connected; False when nobody answers."""
        if self._socket is not None:
            return True
        try:
            self._socket = socket.create_connection(self._at, timeout=1.0)
        except OSError:
            return False
        self._socket.settimeout(0.2)
        self._number, self._rest = 0, b""
        self.heard.connections += 1
        return True

    def listen(self) -> str | None:
        """Takes what has come; returns a verification when one is among it."""
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return None
        except OSError:
            data = b""
        if not data:
            self._socket.close()
            self._socket = None
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        verified = None
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith("verified"):
                verified = text
            else:
                self._note(text)
        return verified

    def _note(self, text: str) -> None:
        number, _, counter = text.partition(" ")
        if not (number.isdigit() and counter.isdigit()):
            return
        heard = self.heard
        heard.messages += 1
        heard.misnumbered += int(number) != self._number + 1
        self._number = int(number)
        if heard.first_counter is None:
            heard.first_counter = int(counter)
        heard.went_back |= heard.last_counter is not None and int(counter) < heard.last_counter
        heard.last_counter = int(counter)

    def verify(self) -> dict[str, int] | None:
        """What the witness says of its own state; None when it does not answer in time."""
        deadline_s = time.monotonic() + _PATIENCE_S
        asked: socket.socket | None = None
        while time.monotonic() < deadline_s:
            if not self.connect():
                pause(_RETRY_S)
                continue
            if self._socket is not asked and self._socket is not None:
                asked = self._socket
                asked.sendall(b"verify\n")
            match = _VERIFIED.match(self.listen() or "")
            if match is not None:
                names = ("pages", "wrong", "generation", "counter", "file", "started")
                return dict(zip(names, map(int, match.groups()), strict=True))
        return None


def main() -> None:
    """Listens until told to end, then asks."""
    child = Child()
    given = configuration()
    listener = Listener(given["address"], given["port"])
    child.say("ready")
    told = False
    looks = Looks(_HOLE_S)
    while not child.stopping:
        looks.note()
        if not listener.connect():
            child.wait(_RETRY_S)
            continue
        listener.listen()
        if not told and listener.heard.messages:
            child.say("hears", found=listener.verify())
            told = True
    child.say("verified", found=listener.verify(), **asdict(listener.heard))
    # Its loop has nothing to be late for: it takes what comes.
    child.say_cost([], looks)


if __name__ == "__main__":
    main()
