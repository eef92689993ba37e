"""How long a fresh tree takes to its first page: a clone, its virtual environment, every image, one trial."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from whimbrel.system.process import run

PROJECT = Path(__file__).parents[1]


def first_page_s() -> float:
    """Seconds from a clone without anything to the page of one trial; Debian packages are there already."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        run(["git", "clone", "--quiet", PROJECT, tree])
        began_s = time.monotonic()
        run(
            [tree / "whimbrel", "run", tree / "scenarios" / "quick.yaml", "--only", "vm", "--set", "lab.name=fresh",
             "--out", Path(folder) / "results"],
            timeout_s=3600, env={"WHIMBREL_HOME": str(Path(folder) / "home")},
        )  # fmt: skip
        took_s = time.monotonic() - began_s
        assert (Path(folder) / "results" / "report.html").exists()
        return took_s
