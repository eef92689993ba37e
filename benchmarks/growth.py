"""What a campaign of many trials costs whoever plans and reads it: made up of one recorded trial, without root or a lab."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.pairs import Ratio, ratio, take_turns
from whimbrel.analysis.figures import SERIES, figures_of
from whimbrel.analysis.kept import kept_figures
from whimbrel.campaign import estimate_campaign_s, estimate_profiles_s, plan_trials
from whimbrel.records.store import CampaignFolder, StoredTrial, write_json
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of
from whimbrel.report.layout import write_page
from whimbrel.report.load import load_trials
from whimbrel.spec.load import load_campaign

RECORDED = Path(__file__).parents[1] / "tests" / "recorded" / "campaign"
TRIALS_OF_AN_ARM = 20
FEW, MANY = 50, 500

_TEXT = """
schema_version: 1
name: growth
guest: {{saved_states: 5}}
thresholds: {{total_s: {{p50: "< 60"}}}}
scenarios:
  - name: vm
    title: Growth
    form: vm
    service: stream
    arms:
{arms}"""


@dataclass(frozen=True)
class Growth:
    """Times of the larger campaign over those of the smaller, per trial: 1 where work grows as trials do."""

    planning_s: float
    planning: Ratio
    showing: Ratio
    paging: Ratio
    asking: Ratio
    kept_over_anew: Ratio
    alike: int
    compared: int


def measure(rounds: int, note: Callable[[str], None]) -> Growth:
    """Plans, writes and reads a campaign of 1,000 trials and one of 10,000, in turn."""
    with TemporaryDirectory() as place:
        planning = take_turns({str(arms): partial(_plan_s, _file(Path(place), arms)) for arms in (FEW, MANY)}, rounds, note)
        campaigns = {arms: _write(Path(place), arms) for arms in (FEW, MANY)}
        few = campaigns[FEW]
        anew = take_turns({"anew": partial(_anew_s, few), "kept": partial(_show_s, few)}, rounds, note)
        note(f"deriving {MANY * TRIALS_OF_AN_ARM:,} trials once")
        _show_s(campaigns[MANY])
        ways = {"show": _show_s, "page": _page_s, "query": _ask_s}
        read = take_turns(
            {f"{name} {arms}": partial(way, campaigns[arms]) for name, way in ways.items() for arms in (FEW, MANY)}, rounds, note
        )
        stored = few.trials()
        return Growth(
            planning_s=min(planning[str(MANY)]),
            planning=_per_trial(planning[str(MANY)], planning[str(FEW)]),
            showing=_per_trial(read[f"show {MANY}"], read[f"show {FEW}"]),
            paging=_per_trial(read[f"page {MANY}"], read[f"page {FEW}"]),
            asking=_per_trial(read[f"query {MANY}"], read[f"query {FEW}"]),
            kept_over_anew=ratio(anew["kept"], anew["anew"]),
            alike=sum(kept_figures(each) == figures_of(each) for each in stored),
            compared=len(stored),
        )


def _per_trial(many_s: list[float], few_s: list[float]) -> Ratio:
    return ratio([each_s / MANY for each_s in many_s], [each_s / FEW for each_s in few_s])


def _file(place: Path, arms: int) -> Path:
    """A scenario file whose arms differ in what they set."""
    lines = (
        f"      - {{viewers: 1, trials: {TRIALS_OF_AN_ARM}, set: {{migration.max_downtime: {number} ms}}}}\n"
        for number in range(1, arms + 1)
    )
    file = place / f"{arms}.yaml"
    file.write_text(_TEXT.format(arms="".join(lines)))
    return file


def _write(place: Path, arms: int) -> CampaignFolder:
    """Its records, with moves of many lengths; their series are those of the recorded trial."""
    spec = load_campaign(_file(place, arms))
    plans = plan_trials(spec)
    folder = CampaignFolder.create(place / str(arms), spec, "benchmark", plans)
    one = next(stored for stored in CampaignFolder.open(RECORDED).trials() if stored.record.plan.arm == "vm-1")
    assert one.record.move is not None
    took_ns = one.record.move.returned_ns - one.record.move.called_ns
    for plan in plans:
        returned_ns = one.record.move.called_ns + round(took_ns * random.Random(plan.order).lognormvariate(0, 0.03))
        move = one.record.move.model_copy(update={"returned_ns": returned_ns})
        told = {"spec": spec.in_arm(spec.find_arm(plan.arm)[1]), "plan": plan, "move": move}
        target = folder.folder / "trials" / f"{plan.order:04d}-{plan.arm}"
        target.mkdir()
        record = one.record.model_copy(update=told)
        write_json(target / "trial.json", json.loads(record.model_dump_json()), lasting=False)
        _link_series(one, target)
    return folder


def _link_series(one: StoredTrial, target: Path) -> None:
    for file in filter(Path.exists, map(one.file_of, SERIES)):
        try:
            os.link(file, target / file.name)
        except OSError:
            (target / file.name).write_bytes(file.read_bytes())


def _time_s(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _plan_s(file: Path) -> float:
    def work() -> None:
        spec = load_campaign(file)
        plans = plan_trials(spec)
        estimate_campaign_s(spec, plans)
        estimate_profiles_s(spec, plans)

    return _time_s(work)


def _show_s(campaign: CampaignFolder) -> float:
    return _time_s(lambda: build_report(CampaignFolder.open(campaign.folder)))


def _anew_s(campaign: CampaignFolder) -> float:
    for file in campaign.folder.glob("trials/*/derived.json"):
        file.unlink()
    return _show_s(campaign)


def _page_s(campaign: CampaignFolder) -> float:
    report = build_report(campaign)
    return _time_s(lambda: write_page(campaign, report))


def _ask_s(campaign: CampaignFolder) -> float:
    return _time_s(lambda: tables_of("growth", load_trials(CampaignFolder.open(campaign.folder))))
