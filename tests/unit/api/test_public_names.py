"""``import whimbrel``: quick, without libvirt, and each of its names leads somewhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import whimbrel

SOURCE = Path(__file__).parents[3] / "src"


def imported_by(code: str) -> set[str]:
    """What a fresh interpreter has imported after this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    return set(done.stdout.split())


def test_importing_it_imports_nothing_else() -> None:
    ours = {name for name in imported_by("import whimbrel") if name.partition(".")[0] == "whimbrel"}
    assert ours == {"whimbrel"}


def test_results_are_read_without_libvirt() -> None:
    found = imported_by("import whimbrel; whimbrel.open_results")
    assert "polars" in found
    assert not {name for name in found if name.split(".")[0] in ("libvirt", "libvirtmod", "av")}


def test_a_scenario_is_loaded_without_libvirt_and_without_data_frames() -> None:
    found = imported_by("import whimbrel; whimbrel.load")
    assert not found & {"libvirt", "polars", "av"}


@pytest.mark.parametrize("name", whimbrel.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    assert name in dir(whimbrel)
    assert getattr(whimbrel, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((SOURCE / "whimbrel" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared == set(whimbrel.__all__)


def test_a_name_that_is_not_there_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'whimbrel' has no attribute 'teleport'"):
        _ = whimbrel.teleport  # type: ignore[attr-defined]
