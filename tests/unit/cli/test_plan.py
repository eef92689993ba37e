from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from tests.campaigns import Synthetic
from whimbrel.cli.plan import plan
from whimbrel.errors import UsageError
from whimbrel.records.trial import Plan

FACTOR = {"quick": 1.0, "slow": 1.25, "same": 1.0}


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    def noisy(trial: Plan) -> float:
        return 10 * FACTOR[trial.arm] * math.exp(random.Random(trial.order).gauss(0, 0.02))

    return Synthetic(noisy, blocks=4).write(tmp_path / "pilot").folder


def test_a_plan_from_a_pilot(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pilot.with_suffix(".yaml")
    plan(file, pilot=pilot, as_json=True)
    each = json.loads(capsys.readouterr().out)
    plan(file, pilot=pilot, pooled=True, as_json=True)
    pooled = json.loads(capsys.readouterr().out)
    assert each["blocks_in_file"] == 4
    assert [hypothesis["name"] for hypothesis in each["hypotheses"]] == ["nesting", "nothing"]
    assert len({hypothesis["spread"] for hypothesis in pooled["hypotheses"]}) == 1
    assert 0.02 < pooled["hypotheses"][0]["spread"] < 0.1
    assert pooled["blocks_needed"] >= 6
    assert pooled["estimated_s"] > 15 * 10


def test_a_plan_from_an_assumed_spread_says_whether_the_file_has_enough(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(pilot.with_suffix(".yaml"), spread="1 %")
    said = capsys.readouterr().out
    assert "to tell 7 % apart" in said
    assert "the file says 4, too few" in said


def test_nothing_to_plan_with(pilot: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the spread is not known"):
        plan(pilot.with_suffix(".yaml"))
    plain = tmp_path / "plain.yaml"
    plain.write_text((Path(__file__).parents[3] / "scenarios" / "quick.yaml").read_text())
    with pytest.raises(UsageError, match="does not say what it is to show"):
        plan(plain)
