"""A server is filled with guests until a limit is crossed, and all of them go again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.labs import PROJECT
from whimbrel.records.density import Filling, read_density
from whimbrel.report.density import each_further

pytestmark = pytest.mark.alone

# So small a limit that the first VM is one too many, while containers hardly count.
TINY = (
    "lab.name=dense", "lab.servers.a.memory=1 GiB", "forms=[vm, container]", "viewers=[1]", "most=2", "settle=1 s", "watch=4 s",
    "limits={memory: 40 %, startup: 20 s}",
)  # fmt: skip


def whimbrel(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "whimbrel", *map(str, words)], capture_output=True, text=True, timeout=400,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


def memory_each_bytes(filling: Filling) -> float:
    found = each_further(filling, lambda step: step.memory_bytes).median
    assert found is not None
    return found


@pytest.mark.long
def test_a_server_is_filled_until_a_limit_is_crossed(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    settings = [word for setting in TINY for word in ("--set", setting)]
    shown = whimbrel("density", PROJECT / "scenarios" / "density.yaml", *settings, "--out", folder)
    print(shown)
    record = read_density(folder)
    vm, container = record.fillings
    assert (vm.form, vm.fit, [step.guests for step in vm.steps]) == ("vm", 0, [1])
    assert vm.crossed is not None
    assert vm.crossed.startswith("memory: ")
    assert (container.form, container.fit, container.crossed) == ("container", 2, None)
    for step in (vm.steps[0], *container.steps):
        assert step.startup_s is not None
        assert 0 < step.startup_s < 20
        assert step.stalls is not None
    # A VM brings a kernel and a QEMU along; a container is nginx alone.
    assert memory_each_bytes(vm) > 100 * 2**20 > 10 * memory_each_bytes(container) > 0
    assert "0 guests of the form vm, each with a viewer, fit; memory: " in shown
    assert "at least 2 guests of the form container, each with a viewer, fit" in shown
    assert (folder / "report.html").read_text().count("<h2>") >= 3
    assert json.loads(whimbrel("show", folder, "--json"))["fillings"][0]["form"] == "vm"
