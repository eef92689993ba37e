"""How much a piece of work is, whatever the machine does meanwhile: Python's steps are counted, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(work: Callable[[], object]) -> int:
    """How many instructions of Python's own machine (opcodes) the work takes."""
    count = 0

    def noted(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return noted

    before = sys.gettrace()
    sys.settrace(noted)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
