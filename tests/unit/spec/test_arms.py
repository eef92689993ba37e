from __future__ import annotations

import json
from pathlib import Path

import pytest

from whimbrel.errors import SpecError
from whimbrel.records.store import write_json
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.load import load_campaign

HEAD = "schema_version: 1\nname: t\n"
VM = "{name: vm, title: VM, form: vm, service: stream, "


def load(folder: Path, text: str) -> CampaignSpec:
    file = folder / "scenario.yaml"
    file.write_text(HEAD + text)
    return load_campaign(file)


def names(spec: CampaignSpec) -> list[str | None]:
    return [arm.name for scenario in spec.scenarios for arm in scenario.every_arm]


def test_factors_are_crossed(tmp_path: Path) -> None:
    factors = "factors: {viewers: [1, 10], technique: [pre-copy, post-copy], link_rate: [200 Mbit/s]}, trials: 2}"
    spec = load(tmp_path, f"scenarios:\n  - {VM}{factors}\n")
    assert names(spec) == [
        "vm-1-pre-copy-link-rate-200-mbit-s",
        "vm-1-post-copy-link-rate-200-mbit-s",
        "vm-10-pre-copy-link-rate-200-mbit-s",
        "vm-10-post-copy-link-rate-200-mbit-s",
    ]
    arms = spec.scenarios[0].every_arm
    assert {arm.trials for arm in arms} == {2}
    resolved = spec.in_arm(arms[1])
    assert resolved.migration.technique == "post-copy"
    assert resolved.lab.link_rate_bytes_per_s == 25e6
    assert spec.migration.technique == "pre-copy"
    assert resolved.scenarios == spec.scenarios


def test_form_and_controls_are_factors_too(tmp_path: Path) -> None:
    spec = load(tmp_path, f"scenarios:\n  - {VM}factors: {{form: [vm, nested], viewers: [1], moves: [true, false]}}}}\n")
    assert names(spec) == ["vm-1", "vm-1-stays", "vm-1-nested", "vm-1-nested-stays"]
    idle = load(tmp_path, f"scenarios:\n  - {VM}arms: [{{viewers: 1, engine: docker}}]}}\n")
    assert names(idle) == ["vm-1-idle-docker"]
    assert idle.scenarios[0].every_arm[0].particulars == "docker idle beside it"


def test_a_setting_may_make_a_part_that_the_file_leaves_out(tmp_path: Path) -> None:
    arm = "{set: {guest.dirtier: {rate: 1 MiB/s, working_set: 10 MiB}}}"
    spec = load(tmp_path, f"scenarios:\n  - {VM}arms: [{arm}]}}\n")
    dirtier = spec.in_arm(spec.scenarios[0].every_arm[0]).guest.dirtier
    assert dirtier is not None
    assert dirtier.rate_bytes_per_s == 2**20


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("arms: [{set: {migration.tecnique: cold}}]}", "in arm 'vm-0-tecnique-cold': is not a key that is known here"),
        ("arms: [{set: {lab.network: 10.1.0.0/24}}]}", "cannot differ between arms"),
        ("arms: [{set: {guest.saved_states: 2}}]}", "cannot differ between arms"),
        ("arms: [{set: {guest.memory_bytes: 2 GiB}}]}", "in arm 'vm-0-memory-bytes-2-gib'"),
        ("arms: [{set: {migration.moves: container}}]}", "moves a container, and there is none in the form 'vm'"),
        ("arms: [{form: container}]}", "moves a VM, and there is none in the form 'container'"),
        ("arms: [{form: container, engine: docker, set: {migration.moves: container}}]}", "an engine that idles"),
        ("arms: [{set: {migration.technique: checkpoint}}]}", "'checkpoint' does not move the VM"),
        ("arms: [{form: nested, set: {migration.moves: container, migration.tls: true}}]}", "is an option of QEMU"),
        ("arms: [{form: nested, set: {migration.moves: container, migration.after: set-clock}}]}", "sets the clock of a VM"),
        ("arms: [{set: {memory: 2 GiB}}]}", "write 'guest.memory'"),
        ("arms: [{set: {guest.memory: 2}}]}", "has no unit"),
        ("arms: [{set: {guest.memory: 90 GiB}}]}", "is more than a server of the lab has"),
        ("arms: [{viewers: 1}, {viewers: 1}]}", "two arms are alike, 'vm-1'"),
        ("factors: {viewers: [1, 1]}}", "two arms are alike"),
        ("factors: {viewers: [many]}}", "viewers: 'many' is not a whole number"),
        ("factors: {viewers: []}}", "make 0 arms"),
        (f"factors: {{viewers: {list(range(30))}, vcpus: {list(range(1, 31))}}}}}", "make 900 arms"),
        ("factors: {colour: [red]}}", "cannot differ between arms"),
        ("arms: [{viewers: 1}], factors: {viewers: [1]}}", "stand beside 'arms'"),
        ("arms: [{viewers: 1}], trials: 3}", "an arm has its own 'trials'"),
        ("arms: [{viewers: 1, form: nested, engine: docker}]}", "an engine that idles"),
    ],
)
def test_bad_arms_are_named(tmp_path: Path, scenario: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, f"scenarios:\n  - {VM}{scenario}\n")
    assert said in str(caught.value)
    assert "scenario.yaml:4" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "key", "resolution"),
    [
        ("{migration.tecnique: cold}", "migration.tecnique", "did you mean 'technique'?"),
        ("{guest.dirtier.rate: 1 MiB/s}", "guest.dirtier.working_set", ""),
        ("{guest.dirtier: {rate: 1 MiB/s, working_set: 2 GiB}}", "guest.dirtier.working_set", ""),
        ("{stream.player_buffers: [1 s, 2]}", "stream.player_buffers.1", ""),
        ("{migration.technique: post-copy, migration.connections: 2}", "migration.connections", ""),
        ("{guest.memory: 2, guest.vcpus: 1.5}", "guest.memory", "(1 more problem in this file)"),
        ("{guest.memory_bytes: 2 GiB}", "guest.memory_bytes", ""),
    ],
)
def test_what_is_wrong_in_an_arm_is_named_with_the_line_of_its_scenario_and_its_key(
    tmp_path: Path, settings: str, key: str, resolution: str
) -> None:
    """Beside other arms, and what is said of all of them, which an arm does not change."""
    other = VM.replace("name: vm", "name: other")
    arms = f"  - {other}arms: [{{name: q}}, {{name: r}}]}}\n  - {VM}arms: [{{name: x}}, {{name: y, set: {settings}}}]}}\n"
    evidence = "guest: {saved_states: 5}\nevidence: {blocks: 6, hypotheses: [{name: h, arm: q, over: r}]}\n"
    with pytest.raises(SpecError, match="in arm 'y': ") as caught:
        load(tmp_path, f"{evidence}scenarios:\n{arms}")
    assert (caught.value.line, caught.value.key, caught.value.resolution) == (7, key, resolution)


def test_names_of_arms_are_unique_in_the_whole_file(tmp_path: Path) -> None:
    other = VM.replace("name: vm", "name: other")
    with pytest.raises(SpecError, match="two arms go by the name 'x'"):
        load(tmp_path, f"scenarios:\n  - {VM}arms: [{{name: x}}]}}\n  - {other}arms: [{{name: x}}]}}\n")


EVIDENCE = "guest: {saved_states: 5}\nevidence: {blocks: 6, hypotheses: [{name: h, arm: vm-1, over: vm-0}]}\n"
TWO_ARMS = f"scenarios:\n  - {VM}arms: [{{viewers: 0}}, {{viewers: 1}}]}}\n"


def test_what_is_to_be_shown_is_hashed(tmp_path: Path) -> None:
    assert load(tmp_path, TWO_ARMS).registration is None
    first = load(tmp_path, EVIDENCE + TWO_ARMS)
    assert first.registration == load(tmp_path, EVIDENCE + TWO_ARMS).registration
    assert first.registration != load(tmp_path, EVIDENCE.replace("6", "7") + TWO_ARMS).registration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evidence: {hypotheses: [{name: h, arm: vm-2, over: vm-0}]}\n", "'vm-2' is no arm; there are vm-0, vm-1"),
        ("evidence: {hypotheses: [{name: h, arm: vm-0, over: vm-0}]}\n", "is the same arm"),
        ("evidence: {hypotheses: [{name: h, arm: vm-1, over: vm-0, figure: service_gap_ms}]}\n", "nobody watches in it"),
        ("evidence: {margin: 0.05}\n", "has no unit: write it as text with one, such as '7 %'"),
        ("evidence: {power: 120 %}\n", "less than 1"),
        ("thresholds: {service_gap: {p50: '< 500'}}\n", "is no figure"),
        ("thresholds: {service_gap_ms: {median: '< 500'}}\n", "is no statistic"),
        ("thresholds: {service_gap_ms: {p50: about 500}}\n", "is no limit"),
    ],
)
def test_bad_evidence_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, f"guest: {{saved_states: 5}}\n{text}{TWO_ARMS}")
    assert said in str(caught.value)


@pytest.mark.parametrize(("figure", "refused"), [("source_cpu_s", False), ("link_bytes", False), ("total_s", True)])
def test_a_guest_that_stays_has_what_needs_no_move(tmp_path: Path, figure: str, refused: bool) -> None:
    hypothesis = f"{{name: h, arm: vm-0, over: still, figure: {figure}}}"
    arms = f"scenarios:\n  - {VM}arms: [{{viewers: 0}}, {{name: still, moves: false}}]}}\n"
    text = f"guest: {{saved_states: 5}}\nevidence: {{blocks: 6, hypotheses: [{hypothesis}]}}\n{arms}"
    if refused:
        with pytest.raises(SpecError, match="nothing moves in it"):
            load(tmp_path, text)
    else:
        assert load(tmp_path, text).evidence is not None


def test_arms_keep_their_names_through_a_file(tmp_path: Path) -> None:
    dirtier = "{working_set: 10 MiB, rate: 1 MiB/s}"
    listed = f"arms: [{{set: {{stream.bitrate: 2 Mbit/s, guest.vcpus: 2}}}}, {{set: {{guest.dirtier: {dirtier}}}}}]}}"
    factors = "factors: {viewers: [1], technique: [post-copy], link_rate: [200 Mbit/s], bitrate: [1 Mbit/s]}}"
    other = VM.replace("name: vm", "name: other")
    spec = load(tmp_path, f"scenarios:\n  - {VM}{listed}\n  - {other}{factors}\n")
    write_json(tmp_path / "spec.json", json.loads(spec.model_dump_json()))
    read = CampaignSpec.model_validate(json.loads((tmp_path / "spec.json").read_text()), context=RECORD)
    assert names(read) == names(spec)
    assert [read.in_arm(arm) for scenario in read.scenarios for arm in scenario.every_arm] == [
        spec.in_arm(arm) for scenario in spec.scenarios for arm in scenario.every_arm
    ]


def test_long_names_stay_apart(tmp_path: Path) -> None:
    rates = ", ".join(f"{rate}00 Mbit/s" for rate in range(1, 4))
    keys = "technique: [pre-post-copy], memory: [1 GiB], bitrate: [1 Mbit/s], bandwidth: [50 MiB/s]"
    spec = load(tmp_path, f"scenarios:\n  - {VM}factors: {{{keys}, link_rate: [{rates}]}}}}\n")
    assert len(set(names(spec))) == 3
    assert all(name is not None and len(name) <= 60 for name in names(spec))
