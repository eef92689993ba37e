"""A campaign with viewers, probe and every figure, made of one recorded trial: what a page shows, none of it left out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl

from tests.campaigns import RECORDED
from whimbrel.campaign import plan_trials
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign

TEXT = """
schema_version: 1
name: watched
seed: 11
guest: {saved_states: 9}
stream: {player_buffers: [200 ms, 1 s]}
evidence:
  blocks: 9
  warm_up_blocks: 1
  margin: 8 %
  hypotheses:
    - {name: service, claim: A service makes it slower, arm: vm-1, over: baseline}
    - {name: hybrid, arm: nested-2, over: vm-1}
    - {name: downtime, figure: qemu_downtime_ms, arm: nested-2, over: vm-1}
thresholds:
  total_s: {p50: "< 12", p25: "< 11.5", max: "< 20", p95: "< 30"}
  service_gap_ms: {min: "> 1"}
scenarios:
  - {name: baseline, title: Nothing, form: vm, service: none, published_total: 350 s, arms: [{viewers: 0}]}
  - {name: vm, title: In the VM, form: vm, service: stream, published_total: 420 s, arms: [{viewers: 1}]}
  - {name: nested, title: In Docker in the VM, form: nested, service: stream, arms: [{viewers: 2}]}
"""
FACTOR = {"baseline": 1.0, "vm-1": 1.25, "nested-2": 1.25}
SPOILT_BLOCK = 4
_PACKET_NS = 40_000_000


def write(folder: Path) -> CampaignFolder:
    """Nine blocks and one more in place of one that was spoilt; one move fails, and one stream never comes back."""
    file = folder.with_suffix(".yaml")
    file.write_text(TEXT)
    spec = load_campaign(file)
    plans = plan_trials(spec)
    campaign = CampaignFolder.create(folder, spec, "a test", plans)
    again = [plan for plan in plans if plan.block == SPOILT_BLOCK and plan.counts]
    repeats = [
        plan.model_copy(update={"order": len(plans) + at, "block": 10, "repeats": SPOILT_BLOCK})
        for at, plan in enumerate(again, start=1)
    ]
    raw = json.loads((RECORDED / "trials" / "0002-vm-1" / "trial.json").read_text())
    for plan in [*plans, *repeats]:
        place = folder / "trials" / f"{plan.order:04d}-{plan.arm}"
        place.mkdir()
        _write_trial(place, json.loads(json.dumps(raw)), spec, plan)
    return campaign


def _write_trial(place: Path, trial: dict[str, Any], spec: CampaignSpec, plan: Plan) -> None:
    dice = random.Random(plan.order)
    total_s = 10 * FACTOR[plan.arm] * dice.lognormvariate(0, 0.03)
    trial |= {"spec": json.loads(spec.model_dump_json()), "plan": plan.model_dump(), "registration": spec.registration}
    move, rest = trial["move"], trial["rest"]
    move["returned_ns"] = move["called_ns"] + round(total_s * 1e9)
    move["qemu_downtime_ms"] = dice.randint(180, 240)
    move["completed"] |= {"downtime": dice.randint(180, 240), "memory_processed": dice.randint(180_000_000, 220_000_000)}
    for name in ("guest_memory_used_bytes", "guest_cached_bytes", "state_memory_bytes", "disk_used_bytes"):
        rest[name] = round(rest[name] * dice.lognormvariate(0, 0.05))
    spoilt = plan.counts and plan.block == SPOILT_BLOCK and plan.arm == "vm-1"
    rest["link_bytes_per_s"] = spec.link_rate_bytes_per_s * (0.5 if spoilt else 0.956)
    trial["provenance"]["saved_state"] = f"state-{plan.form}-{plan.scenario}-{plan.state_boot}"
    trial["instruments"] = [
        {"name": name, "cpu_s": dice.uniform(0.5, 1), "jitter_p50_ms": dice.uniform(0, 1), "jitter_p99_ms": dice.uniform(1, 5)}
        for name in ("player", "probe")
    ]
    if plan.counts and plan.block == 7 and plan.arm == "nested-2":
        trial["outcome"] |= {"result": "failed", "measured": False, "error": "the link was cut"}
    events = [event for event in trial["events"] if event["source"] == "player"]
    trial["events"] += [event | {"data": event["data"] | {"viewer": 2}} for event in events if event["data"]]
    (place / "trial.json").write_text(json.dumps(trial))
    gap_ns = round(dice.uniform(0.15, 2) * 1e9)
    _probe(move, gap_ns // 2).write_parquet(place / "probe.parquet")
    if plan.viewers:
        lost = plan.counts and plan.block == 2 and plan.arm == "vm-1"
        _packets(trial, plan.viewers, gap_ns, lost).write_parquet(place / "packets.parquet")


def _probe(move: dict[str, Any], gap_ns: int) -> pl.DataFrame:
    """An echo every 40 ms, and none for a while in the middle of the move."""
    middle_ns = (move["called_ns"] + move["returned_ns"]) // 2
    sent = range(move["called_ns"] - 3_000_000_000, move["returned_ns"] + 4_000_000_000, _PACKET_NS)
    rows = [(ns, None if middle_ns < ns < middle_ns + gap_ns else ns + 1_000_000) for ns in sent]
    return pl.DataFrame(rows, schema={"sent_ns": pl.Int64, "received_ns": pl.Int64}, orient="row")


def _packets(trial: dict[str, Any], viewers: int, gap_ns: int, lost: bool) -> pl.DataFrame:
    """What each viewer got: nothing for a while in the middle of the move, the second viewer for longer, or to the end."""
    seen = {event["name"]: event["seen_ns"] for event in trial["events"] if event["source"] == "player"}
    middle_ns = (trial["move"]["called_ns"] + trial["move"]["returned_ns"]) // 2
    rows = []
    for viewer in range(1, viewers + 1):
        silence_ns = gap_ns * (viewer + 1) // 2
        for at, ns in enumerate(range(seen["playing"], seen["stopped"], _PACKET_NS)):
            late_ns = silence_ns if ns > middle_ns else 0
            if ns + late_ns < seen["stopped"] and not (lost and late_ns):
                rows.append((viewer, 0, 1, at * _PACKET_NS // 1_000_000, ns + late_ns, 5000))
    schema: dict[str, Any] = {"viewer": pl.Int32, "connection": pl.Int32, "kind": pl.Int8}
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(("stream_ms", "arrived_ns", "bytes"), pl.Int64), orient="row")
