"""A container on the servers themselves moves from one to the other, by each technique that this machine's kernel can do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.cells import Cells
from tests.fakes import FakeJournal
from tests.lab.test_containers import HARM_TO_IMAGES, TAMPERING, Saboteur
from tests.labs import PROJECT
from tests.lengths import some_long
from tests.spectators import spectators
from whimbrel.lab.lab import Lab
from whimbrel.migrate.techniques import lacks
from whimbrel.spec.migration import ContainerTechniqueName
from whimbrel.system.capabilities import Finding
from whimbrel.system.deadline import pause

pytestmark = pytest.mark.alone

SERVERS = PROJECT / "scenarios" / "servers.yaml"


def test_doctor_says_what_it_saw(findings: list[Finding]) -> None:
    print(findings)
    assert len(findings) == 4
    assert all(finding.seen and not finding.needed for finding in findings)


@pytest.mark.parametrize("technique", some_long(get_args(ContainerTechniqueName), short=["pre-copy", "checkpoint", "post-copy"]))
def test_a_container_moves_between_servers_with_its_viewers(
    cells: Cells, findings: list[Finding], technique: ContainerTechniqueName, tmp_path: Path
) -> None:
    reason = lacks(technique, findings)
    if reason is not None:
        pytest.skip(reason)
    with spectators(cells.lab, tmp_path) as seen:
        report = cells.move(technique, FakeJournal())
        assert report.result == "moved", report.error
        # Within a cell nobody need count memory; what is not known is not 0.
        assert report.reserved_memory_bytes != 0
        assert cells.states == ["absent", "runs"]
        pause(3)
        # What was left on the first server is not in the way of coming back.
        report = cells.move(technique, FakeJournal(), back=True)
        assert report.result == "moved", report.error
        assert cells.states == ["runs", "absent"]
    if technique == "restart":
        seen.assert_it_started_again()
    else:
        seen.assert_it_went_on()


@pytest.mark.parametrize(
    ("technique", "harm"),
    [
        ("checkpoint", "images tampered"),
        ("checkpoint", "destination killed"),
        pytest.param("post-copy", "images cut off", marks=pytest.mark.long),
        pytest.param("restart", "images tampered", marks=pytest.mark.long),
    ],
)
def test_after_harm_the_container_goes_on_on_its_server(
    cells: Cells, findings: list[Finding], technique: ContainerTechniqueName, harm: str, tmp_path: Path
) -> None:
    reason = lacks(technique, findings)
    if reason is not None:
        pytest.skip(reason)
    harms: dict[str, tuple[str, Callable[[], object]]] = {
        "images tampered": ("", lambda: None),
        "images cut off": ("", lambda: None),
        # Between servers it all happens between two of our looks: only before the freeze is it certain to come in time.
        "destination killed": ("connected", cells.b.cell.close),
    }
    if harm in HARM_TO_IMAGES:
        cells.b.cell.shell("mkdir -p /run/bin && mount --bind /run/bin /usr/local/bin")
        cells.b.cell.write("/run/bin/nc", TAMPERING % HARM_TO_IMAGES[harm])
        cells.b.cell.shell("chmod +x /run/bin/nc")
    with spectators(cells.lab, tmp_path, viewers=0) as seen:
        report = cells.move(technique, Saboteur(*harms[harm]))
        assert report.result == "failed", report
        assert report.error is not None
        assert cells.states == ["runs", "absent"]
    if technique == "restart":
        seen.assert_it_started_again()
    else:
        seen.assert_it_went_on()


def whimbrel_run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whimbrel", "run", str(SERVERS), *map(str, words)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip


def test_a_trial_of_what_cannot_be_done_ends_before_anything_is_made(lab: Lab, findings: list[Finding], tmp_path: Path) -> None:
    reason = lacks("pre-copy", findings)
    if reason is None:
        pytest.skip("this kernel tracks memory: every technique can be done")
    folder = tmp_path / "results"
    arm = "scenarios.container.arms.checkpoint.set={migration.technique: pre-copy}"
    done = whimbrel_run("--set", arm, "--out", folder)
    assert done.returncode == 3, done.stderr
    assert "memory tracking outside a guest" in done.stderr
    assert not folder.exists()


@pytest.mark.long
def test_a_trial_of_this_form_is_measured(lab: Lab, findings: list[Finding], tmp_path: Path) -> None:
    reason = lacks("checkpoint", findings) or lacks("post-copy", findings)
    if reason is not None:
        pytest.skip(reason)
    done = whimbrel_run("--set", "lab.name=outer", "--out", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
