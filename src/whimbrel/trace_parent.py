"""A span that others may be within, handed from process to process as W3C Trace Context writes it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True)
class TraceParent:
    """A span that others may be within, as W3C Trace Context writes it (``traceparent``)."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def read(cls, text: str | None) -> TraceParent | None:
        """Reads what is given; None where nothing is, or it is no trace parent."""
        match = _TRACEPARENT.fullmatch(text or "")
        if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
            return None
        return cls(match[1], match[2], bool(int(match[3], 16) & 1))

    def within(self) -> TraceParent:
        """A new span within it."""
        return TraceParent(self.trace_id, secrets.token_hex(8), self.sampled)

    @classmethod
    def new(cls) -> TraceParent:
        """The first span of a new trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
