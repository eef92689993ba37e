"""Tables of ratios, from figures that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.techniques import arms_of, base_of, table

from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import figures_of
from whimbrel.records.store import CampaignFolder

RECORDED = Path(__file__).parents[1] / "recorded" / "campaign"


@pytest.fixture(scope="module")
def trials() -> list[Trialled]:
    """A real trial six times by virsh, and six times by us: twice as long, each in a block of its own."""
    [real] = [stored for stored in CampaignFolder.open(RECORDED).trials() if stored.record.plan.arm == "vm-1"]
    figures = figures_of(real)
    assert figures.total_s is not None
    found = []
    for block in range(1, 7):
        for arm, by, factor in (("vm-1", "whimbrel", 2), ("vm-virsh", "virsh", 1)):
            plan = real.record.plan.model_copy(update={"block": block, "arm": arm})
            migration = real.record.spec.migration.model_copy(update={"by": by})
            spec = real.record.spec.model_copy(update={"migration": migration})
            record = real.record.model_copy(update={"plan": plan, "spec": spec})
            found.append(Trialled(record, figures.model_copy(update={"total_s": figures.total_s * factor, "link_bytes": None})))
    return found


def test_ratios_are_to_the_arm_that_virsh_moved(trials: list[Trialled]) -> None:
    assert base_of(trials, ["vm-1", "vm-virsh"]) == "vm-virsh"
    assert base_of(trials, ["vm-1"]) == "vm-1"
    *_, base, ours = table(trials, ["vm-1", "vm-virsh"], "vm-virsh")
    total_s = trials[1].figures.total_s
    assert base.startswith(f"| vm-virsh | {total_s:.1f} |")
    assert ours.startswith("| vm-1 | 2.00 [2.00 to 2.00] | 1.00 [1.00 to 1.00] |")
    # Nobody saw what left the link.
    assert [line.split(" | ")[6] for line in (base, ours)] == ["–", "–"]


def test_arms_are_those_that_were_made(trials: list[Trialled]) -> None:
    made = arms_of([trials[0]])
    assert [arm for arms in made.values() for arm in arms] == ["vm-1"]
