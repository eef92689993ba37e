"""The command as it was typed: it goes into records and reports, from where it can be pasted."""

from __future__ import annotations

import os
import shlex
import sys

# As a reader of the README calls it.
_HOW_TO_CALL = ("sudo", "./whimbrel") if "WHIMBREL_COMMAND" in os.environ else ("sudo", "whimbrel")


def as_typed() -> str:
    """The command of this process."""
    return called(*sys.argv[1:])


def called(*words: str) -> str:
    """A command with these words, as one would type it here."""
    return shlex.join([*_HOW_TO_CALL, *words])
