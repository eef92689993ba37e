from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.errors import CapabilityError
from whimbrel.lab.criu_check import CELL, DUMP, LAZY_PAGES, TRACKING, parse_probe
from whimbrel.migrate.techniques import lacks, possibilities
from whimbrel.system.capabilities import Finding

RECORDED = (Path(__file__).parents[2] / "recorded" / "criu-4.1.1-kernel-6.18.txt").read_text().splitlines()
NO_TRACKING, LAZY = (
    RECORDED[RECORDED.index(f"$ criu check --feature {name}; echo $?") + 1] for name in ("mem_dirty_track", "uffd")
)  # fmt: skip
SAID = f"CRIU\tyes\tversion 4.1.1 dumped a process\ntracking\tno\t{NO_TRACKING}\nlazy\tyes\t{LAZY}\n"

A_CELL = Finding(CELL, True, False, "version 2 of control groups is mounted")


def test_what_the_probe_said() -> None:
    dump, tracking, lazy = parse_probe(f"a word of some program\n{SAID}")
    assert (dump.name, dump.works) == (DUMP, True)
    assert (tracking.name, tracking.works) == (TRACKING, False)
    assert tracking.seen.endswith("Dirty tracking is OFF. Memory snapshot will not work.")
    assert (lazy.name, lazy.works, lazy.seen) == (LAZY_PAGES, True, "uffd is supported")


@pytest.mark.parametrize("said", ["", SAID.partition("lazy")[0], "sh: criu: not found\n"])
def test_a_probe_that_broke_off_says_nothing_of_criu(said: str) -> None:
    with pytest.raises(CapabilityError, match="could not be tried"):
        parse_probe(said)


def test_each_pair_that_cannot_be_done_has_its_reason() -> None:
    found = {(each.form, each.technique, each.moves): each for each in possibilities([A_CELL, *parse_probe(SAID)])}
    assert len(found) == 3 * 9
    assert all(each.possible == (each.reason is None) for each in found.values())
    assert all(found["nested", technique, moves].possible for _, technique, moves in found)
    refused = {
        (form, technique) for (form, technique, moves), each in found.items() if moves == "container" and not each.possible
    }
    assert refused == {("vm", name) for name in ("checkpoint", "pre-copy", "post-copy", "restart")} | {("container", "pre-copy")}
    assert found["container", "paused", "vm"].reason == "there is no VM around it"
    assert "Dirty tracking is OFF" in (found["container", "pre-copy", "container"].reason or "")


def test_without_criu_a_container_can_still_be_started_anew() -> None:
    findings = [
        A_CELL, *parse_probe(SAID.replace("CRIU\tyes\tversion 4.1.1 dumped a process", "CRIU\tno\tversion 3.17: Error"))
    ]  # fmt: skip
    assert lacks("restart", findings) is None
    assert lacks("checkpoint", findings) == f"no {DUMP}: version 3.17: Error"
    assert "; " in (lacks("pre-copy", findings) or "")


def test_without_a_cell_no_container_runs_on_a_server() -> None:
    findings = [Finding(CELL, False, False, "it is not mounted"), *parse_probe(SAID)]
    assert lacks("restart", findings) == f"no {CELL}: it is not mounted"
