"""Text of others, made such that a terminal only shows it."""

from __future__ import annotations

import re

# What makes a terminal do something (C0 without tab and new line, C1), or shows words in another order than they have
# (Unicode's bidirectional controls): files, hosts and guests may say such.
_ACTS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")


def visible(text: str) -> str:
    """The text with every character that a terminal would act on written as an escape, such as ``\\x1b``."""
    return _ACTS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
