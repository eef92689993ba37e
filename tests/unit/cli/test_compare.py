from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaigns import Synthetic
from whimbrel.cli.compare import compare
from whimbrel.errors import UsageError

FACTOR = {"quick": 1.0, "slow": 1.25, "same": 1.0}


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return Synthetic(lambda plan: FACTOR[plan.arm] * (10 + 0.01 * plan.order)).write(tmp_path / "first").folder


def lab(folder: Path, programs: dict[str, str], encrypted: bool, **settings: object) -> Path:
    """The same campaign as it would have been in a lab with other settings, with moves encrypted or not."""
    for file in folder.glob("trials/*/trial.json"):
        record = json.loads(file.read_text())
        record["spec"]["lab"] |= settings
        record["spec"]["migration"]["tls"] = encrypted
        record["provenance"]["versions"] |= programs
        file.write_text(json.dumps(record))
    return folder


def machine(folder: Path, **facts: object) -> Path:
    """The same campaign as another machine would have made it."""
    for file in folder.glob("trials/*/trial.json"):
        record = json.loads(file.read_text())
        record["provenance"] |= facts
        file.write_text(json.dumps(record))
    return folder


def test_arms_of_a_campaign_are_compared_within_blocks(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare([campaign], arm="slow", over="quick", as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    assert found["ratio"] == pytest.approx(1.25, rel=0.01)
    assert found["interval"]["low"] < found["ratio"] < found["interval"]["high"]
    assert found["overlap"] == 1.0
    assert found["differs"] == {}


def test_the_same_arm_of_two_machines(campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = Synthetic(lambda plan: 2 * FACTOR[plan.arm] * (10 + 0.01 * plan.order)).write(tmp_path / "second").folder
    compare([machine(twice, machine_cpu="a slow one"), campaign], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {comparison["ours"] for comparison in found} == {"second/quick", "second/slow", "second/same"}
    for comparison in found:
        assert comparison["ratio"] == pytest.approx(2, rel=0.02)
        assert list(comparison["differs"]) == ["machine"]


@pytest.mark.parametrize(
    ("programs", "encrypted", "settings", "differs"),
    [
        ({}, True, {"tls": True}, {"lab.tls", "migration.tls"}),
        ({"qemu": "11.1.3", "libvirt": "12.9.0"}, False, {"suite": "trixie-backports"},
         {"lab.suite", "version of libvirt", "version of qemu"}),
    ],
    ids=["TLS", "newer servers"],
)  # fmt: skip
def test_what_comes_with_another_thing_is_none_of_its_own(
    campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], programs: dict[str, str], encrypted: bool,
    settings: dict[str, object], differs: set[str],
) -> None:  # fmt: skip
    other = Synthetic(lambda plan: 12.0).write(tmp_path / "second").folder
    compare([lab(other, programs, encrypted, **settings), campaign], arm="quick", as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    assert set(found["differs"]) == differs
    with pytest.raises(UsageError, match="differ in more than one thing"):
        compare([lab(other, programs, encrypted, **settings, link_rate_bytes_per_s=1e6), campaign], arm="quick")
    # Who names the thing need not name what comes with it.
    compare([other, campaign], arm="quick", despite=[next(key for key in differs if key.startswith("lab."))])


def test_what_differs_in_two_things_is_refused(campaign: Path, tmp_path: Path) -> None:
    other = Synthetic(lambda plan: 10.0).write(tmp_path / "second").folder
    machine(other, machine_cpu="a slow one", commit="0123456")
    with pytest.raises(UsageError, match="differ in more than one thing") as caught:
        compare([campaign, other])
    assert "machine:" in str(caught.value)
    assert "whimbrel:" in str(caught.value)
    compare([campaign, other], despite=["whimbrel"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to be compared with"),
        ({"arm": "slow", "over": "quik"}, "there is no arm 'quik'"),
        ({"arm": "slow", "over": "quick", "figure": "speed"}, "there is no figure 'speed'"),
    ],
)
def test_bad_questions(campaign: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare([campaign], **options)  # type: ignore[arg-type]
