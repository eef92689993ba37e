"""Scenario files whose service is somebody else's: known by checks, moved by commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.campaign import plan_trials
from whimbrel.errors import SpecError, UsageError
from whimbrel.moves.site import ledger_for
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.load import load_campaign

SERVICE = 'service: {checks: ["http://127.0.0.1:1/#web", {url: "icmp:127.0.0.1", rate: 50}], before: 2 s}\n'
FILE = f"""\
schema_version: 1
name: restart
hosts: none
{SERVICE}\
migration: {{by: command, there: ./reload}}
scenarios:
  - name: restart
    title: Restarted
    arms:
      - {{name: reload, trials: 3}}
      - {{name: restart, trials: 3, set: {{migration.there: ./restart, migration.back: ./back}}}}
"""


def load(folder: Path, text: str) -> CampaignSpec:
    file = folder / "file.yaml"
    file.write_text(text)
    return load_campaign(file)


def test_arms_have_commands_of_their_own_and_always_go_the_same_way(tmp_path: Path) -> None:
    spec = load(tmp_path, FILE)
    assert spec.watched
    assert spec.service is not None
    assert (len(spec.service.checks), spec.service.before_s, spec.service.after_s) == (2, 2.0, None)
    commands = {name: spec.in_arm(spec.find_arm(name)[1]).migration for name in ("reload", "restart")}
    assert {name: (each.there, each.back) for name, each in commands.items()} == {
        "reload": ("./reload", None),
        "restart": ("./restart", "./back"),
    }
    plans = plan_trials(spec)
    assert [plan.form for plan in plans] == ["elsewhere"] * 6
    assert {(plan.source, plan.destination) for plan in plans} == {("a", "b")}


def test_a_record_of_it_reads_as_it_was(tmp_path: Path) -> None:
    spec = load(tmp_path, FILE)
    for each in (spec, spec.in_arm(spec.find_arm("restart")[1])):
        assert CampaignSpec.model_validate(each.model_dump(mode="json"), context=RECORD) == each


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("hosts: none\n", "", "service", "hosts: none"),
        (SERVICE, "", "hosts", "checks"),
        ("by: command, there: ./reload", "technique: pre-copy", "service", "by: command"),
        ("by: command, there: ./reload", "there: ./reload", "migration.there", "by: command"),
        ("by: command, there: ./reload", "by: command", "scenarios.0", "no command that moves"),
        ("{name: reload, trials: 3}", "{name: reload, viewers: 1}", "scenarios.0", "viewers need a stream"),
        ("{name: reload, trials: 3}", "{name: reload, moves: false}", "scenarios.0.arms", "told apart by 'set'"),
        ("    title: Restarted", "    title: Restarted\n    form: vm", "scenarios.0.form", "hosts: none"),
        ("name: restart\nhosts", "name: restart\nlab: {name: x}\nhosts", "service", "no lab"),
        ('["http://127.0.0.1:1/#web", {url: "icmp:127.0.0.1", rate: 50}]', "[]", "service.checks", "at least 1"),
        (
            "scenarios:\n",
            "evidence: {hypotheses: [{name: x, arm: reload, over: restart, figure: blackout_ms}]}\nscenarios:\n",
            "evidence.hypotheses.0.arm", "total_s and service_gap_ms",
        ),
        ("before: 2 s", "libvirt: {a: qemu:///system}, guest: shop", "service.libvirt", "a move has two"),
        ("before: 2 s", "guest: shop", "service.guest", "go together"),
        ("before: 2 s", "start: nginx", "service.start", "'image'"),
        ("scenarios:\n", 'thresholds: {"web: gap_ms": {max: "< 5"}}\nscenarios:\n', "thresholds", "no figure"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name_and_line(tmp_path: Path, old: str, new: str, key: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(SpecError) as refused:
        load(tmp_path, FILE.replace(old, new))
    assert said in str(refused.value)
    assert key in str(refused.value)


def test_a_lab_takes_neither_commands_nor_the_form_of_no_lab(tmp_path: Path) -> None:
    lab = (
        "schema_version: 1\nname: x\nscenarios: [{name: x, title: X, form: vm, service: none, arms: [{}]}]\n"
        "migration: {by: command, there: ./x}\n"
    )
    with pytest.raises(SpecError, match="needs 'service"):
        load(tmp_path, lab)
    with pytest.raises(SpecError, match="hosts: none"):
        load(tmp_path, lab.replace("migration: {by: command, there: ./x}\n", "").replace("form: vm", "form: elsewhere"))


def test_no_lab_is_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no hosts"):
        ledger_for(load(tmp_path, FILE))


def test_the_scenario_that_is_shipped_is_one() -> None:
    spec = load_campaign(Path(__file__).parents[3] / "scenarios" / "restart.yaml")
    assert spec.watched
    assert len(plan_trials(spec)) == 14
