"""The examples of docs/python.md."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python( test)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(heading: str, tests: bool = False) -> list[str]:
    """The code under a heading, block by block; ``tests``: those that are for pytest."""
    text = (PROJECT / "docs" / "python.md").read_text()
    [section] = [part for part in text.split("\n## ") if part.startswith(f"{heading}\n")]
    found = [code for is_test, code in _BLOCK.findall(section) if bool(is_test) == tests]
    assert found, f"docs/python.md has no example under {heading!r}"
    return found
