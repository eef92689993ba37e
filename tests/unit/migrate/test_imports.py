"""What a move needs, and what it does not: asked of a fresh interpreter, as this one has imported everything already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src"
ASK = """
import importlib, pkgutil, sys
import whimbrel.migrate as room
for module in pkgutil.walk_packages(room.__path__, "whimbrel.migrate."):
    importlib.import_module(module.name)
print(*sorted(sys.modules))
"""


def test_a_move_needs_no_film_and_no_data_frames() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)}
    )  # fmt: skip
    imported = set(done.stdout.split())
    assert "whimbrel.migrate.carry_out" in imported
    assert not imported & {"av", "whimbrel.images.film", "polars", "pyarrow", "numpy", "matplotlib"}
