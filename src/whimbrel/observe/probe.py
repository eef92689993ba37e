"""The probe: a numbered ICMP echo every few milliseconds from the vantage to the guest; send and receive time of each.

Receive times are the kernel's (SO_TIMESTAMPNS), so a late wake-up of this process does not lengthen a gap.
Run as ``python -m whimbrel.observe.probe CONFIGURATION``.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

import polars as pl

from whimbrel.records.series import PROBE_SCHEMA, write_series
from whimbrel.system.child import Child, Looks, Readings, configuration
from whimbrel.system.clock import SO_TIMESTAMPNS, KernelClock

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
# An answer that takes longer than this is not waited for at the end.
_LATE_S = 1.0
_LAST_SENT = 1000
# Questions that are further apart than so many periods, and than so long, leave a hole.
_HOLE_PERIODS, _HOLE_S = 10, 0.05
_HEADER = struct.Struct("!BBHHH")
_NUMBER = struct.Struct("!Q")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(identifier: int, number: int) -> bytes:
    """An ICMP echo request (RFC 792) that carries its own number."""
    payload = _NUMBER.pack(number)
    bare = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, number & 0xFFFF) + payload
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(bare), identifier, number & 0xFFFF) + payload


def read_reply(packet: bytes, identifier: int) -> int | None:
    """The number in our echo reply; None when the packet is something else. ``packet`` starts with its IPv4 header."""
    body = packet[(packet[0] & 0x0F) * 4 :]
    if len(body) < _HEADER.size + _NUMBER.size:
        return None
    kind, _, _, found, _ = _HEADER.unpack_from(body)
    if kind != _ECHO_REPLY or found != identifier:
        return None
    number: int = _NUMBER.unpack_from(body, _HEADER.size)[0]
    return number


class Prober:
    """Sends and receives on one raw socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._address = (address, 0)
        self._identifier = os.getpid() & 0xFFFF
        self._clock = KernelClock()
        self.sent_ns: list[int] = []
        self.received_ns: list[int | None] = []
        # How many were answered, and when the last answer came.
        self.answered = 0
        self.last_answer_ns: int | None = None

    def send(self) -> None:
        """Sends the next number; one that the kernel refuses stays unanswered."""
        number = len(self.sent_ns)
        self.sent_ns.append(time.monotonic_ns())
        self.received_ns.append(None)
        try:
            self._socket.sendto(echo_request(self._identifier, number), self._address)
        except OSError:
            return

    def receive(self, timeout_s: float) -> None:
        """Takes every reply that comes within the time."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return
        while True:
            try:
                packet, extras, _, _ = self._socket.recvmsg(256, 64)
            except BlockingIOError:
                return
            number = read_reply(packet, self._identifier)
            if number is not None and number < len(self.received_ns) and self.received_ns[number] is None:
                self.received_ns[number] = self.last_answer_ns = self._clock.arrival_ns(extras, time.monotonic_ns())
                self.answered += 1

    def receive_late_ones(self, timeout_s: float) -> None:
        """Waits for answers to what was sent last, if there are any to come."""
        until_s = time.monotonic() + timeout_s
        first_ns = time.monotonic_ns() - round(timeout_s * 1e9)
        while time.monotonic() < until_s and any(
            received is None
            for sent_ns, received in zip(self.sent_ns[-_LAST_SENT:], self.received_ns[-_LAST_SENT:], strict=True)
            if sent_ns > first_ns
        ):
            self.receive(0.02)


def main() -> None:
    """Probes until told to stop, then writes the series."""
    child = Child()
    given = configuration()
    prober = Prober(given["address"])
    every_ns = round(given["every_s"] * 1e9)
    lateness: list[float] = []
    looks = Looks(max(_HOLE_PERIODS * given["every_s"], _HOLE_S))
    readings = Readings()
    due_ns = time.monotonic_ns()
    child.say("ready")
    while not child.stopping:
        now_ns = time.monotonic_ns()
        if now_ns >= due_ns:
            lateness.append((now_ns - due_ns) / 1e9)
            prober.send()
            looks.note(prober.sent_ns[-1])
            due_ns = max(due_ns + every_ns, now_ns)
            if readings.due(now_ns):
                sent = len(prober.sent_ns)
                readings.give(
                    t_ns=now_ns, sent=sent, answered=prober.answered, last_answer_ns=prober.last_answer_ns,
                    lateness_s=lateness[-1],
                )  # fmt: skip
        prober.receive(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
    prober.receive_late_ones(_LATE_S)
    series = {"sequence": range(len(prober.sent_ns)), "sent_ns": prober.sent_ns, "received_ns": prober.received_ns}
    write_series(pl.DataFrame(series, schema=PROBE_SCHEMA), given["output"])
    child.say_cost(lateness, looks)


if __name__ == "__main__":
    main()
