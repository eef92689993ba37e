from __future__ import annotations

import struct

from whimbrel.observe.probe import checksum, echo_request, read_reply

IPV4 = b"\x45" + b"\0" * 19


def reply_to(request: bytes) -> bytes:
    return IPV4 + b"\0" + request[1:]


def test_the_checksum_of_a_request_with_its_checksum_is_zero() -> None:
    assert checksum(echo_request(1234, 70_000)) == 0


def test_the_checksum_matches_a_worked_example() -> None:
    # RFC 1071, section 3: the sum of these bytes is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


def test_a_reply_gives_its_number_beyond_sixteen_bits() -> None:
    assert read_reply(reply_to(echo_request(7, 70_000)), 7) == 70_000


def test_what_is_not_our_reply_is_none() -> None:
    request = echo_request(7, 1)
    assert read_reply(IPV4 + request, 7) is None
    assert read_reply(reply_to(request), 8) is None
    assert read_reply(IPV4 + struct.pack("!BBHHH", 0, 0, 0, 7, 1), 7) is None
