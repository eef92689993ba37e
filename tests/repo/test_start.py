"""The command line starts quickly: what is slow to import waits until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SLOW = ("altair", "av", "dns", "duckdb", "h11", "pandas", "scipy.stats", "statsmodels", "vl_convert", "websockets")


def test_nothing_slow_is_imported_at_the_start() -> None:
    code = f"import sys, whimbrel.cli.app; print([name for name in {SLOW!r} if name in sys.modules])"
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source})
    assert done.stdout.strip() == "[]"
