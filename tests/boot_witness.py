"""A witness of 209 bytes for guests of any make: a boot sector that fills 512 KiB of memory with numbers.

From then on it compares them, and the second sector of the disk that it was booted from, over and over, and counts rounds and
what is not as it was.

In 16-bit code (GNU as, ``.code16``), with the counters at 0x600: the word "WHMB", rounds, wrong words of memory, wrong readings::

    fill:   for every word from 0x10000 to 0x8ffff: word = address * 0x9e3779b1
    round:  wait for the timer's next tick; count the words that are another number
            read sector 1 to 0x800 (int 0x13, ah 0x42); count a reading that is not 0xc0ffee00, 0xc0ffee01, ...
            rounds = rounds + 1
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

_CODE = bytes.fromhex(
    "fa31c08ed88ed0bc00708816d07c66c706000657484d426689c36631db66891e040666891e080666891e0c06b800108ec031ffe872002666891d83c70475f48cc0"
    "0500103d009075e6fbf4b800108ec031ffe853002666391d740566ff06080683c70475ed8cc00500103d009075dfbec07cb4428a16d07ccd13722031c08ed831f6"
    "66bb00eeffc066399c0008750d664383c60481fe000275eeeb0566ff060c0666ff060406eba16631db8cc366c1e304660fb7cf6601cb6669dbb179379ec3100001"
    "0000080000010000000000000000"
)
_SECTOR_BYTES = 512
_WORDS = re.compile(r"0x([0-9a-f]{8})")
# Where the guest's own counters are, as QEMU's monitor is asked for them.
QUESTION = "xp /4xw 0x600"


def write_disk(file: Path, size_bytes: int) -> None:
    """A raw disk that boots the witness."""
    boot = _CODE.ljust(_SECTOR_BYTES - 2, b"\0") + b"\x55\xaa"
    numbers = struct.pack("<128I", *(0xC0FFEE00 + number for number in range(128)))
    with file.open("wb") as written:
        written.write(boot + numbers)
        written.truncate(size_bytes)


@dataclass(frozen=True)
class Witnessed:
    """Rounds so far, words of memory that were wrong, and readings of the disk that were."""

    rounds: int
    wrong_words: int
    wrong_readings: int


def said_in(answer: str) -> Witnessed | None:
    """From QEMU's answer to ``QUESTION``; None before it has begun."""
    words = [int(word, 16) for word in _WORDS.findall(answer)]
    if len(words) != 4 or words[0] != 0x424D4857:
        return None
    return Witnessed(*words[1:])
