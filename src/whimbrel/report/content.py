"""What a report says, before it is laid out: no chart is drawn here, so that a summary comes quickly."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from whimbrel.analysis.evidence import Evidence, evidence_of
from whimbrel.analysis.predictor import PredictorRecord, record_of
from whimbrel.analysis.summary import ArmSummary, summarise
from whimbrel.analysis.thresholds import Tick, ticks_of
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.report.load import Counted, ReportedTrial, load_trials
from whimbrel.report.problems import failures_of, problems_of
from whimbrel.report.table import Table, instrument_table, main_table, rest_table
from whimbrel.spec.migration import MigrationSpec
from whimbrel.units import format_bytes, format_duration, format_rate

_ACCELERATORS = {
    "kvm": "KVM",
    "tcg": "none: guests are emulated (TCG)",
    "none": "none is needed: the container runs on the servers themselves",
}

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """What a report says, before it is laid out."""

    title: str
    reference: str
    emulated: bool
    planned: int
    to_come: str
    trials: list[ReportedTrial]
    arms: list[ArmSummary]
    first_scenario: str
    table: Table
    rest: Table
    instruments: Table
    problems: list[str]
    failures: list[tuple[str, str]]
    evidence: Evidence | None
    predictor: PredictorRecord | None
    ticks: list[Tick]
    command: str
    environment: list[tuple[str, str]]


def build_report(folder: CampaignFolder, buffers_s: Sequence[float] = (), told: Counted = lambda done: None) -> Report:
    """Reads a campaign and derives everything its report says; ``buffers_s`` are player buffers other than the file's.

    ``told`` as for ``load_trials``.
    """
    return report_of(folder, load_trials(folder, buffers_s, told))


def report_of(folder: CampaignFolder, trials: list[ReportedTrial]) -> Report:
    """The same of trials that are loaded."""
    spec = folder.spec
    header = folder.header
    trialled = [trial.trialled for trial in trials]
    arms = summarise(trialled)
    return Report(
        title=spec.title or spec.name,
        reference=spec.reference,
        emulated=any(trial.stored.record.provenance.accelerator == "tcg" for trial in trials),
        planned=len(folder.plans) + sum(trial.stored.record.plan.repeats is not None for trial in trials),
        to_come=to_come(folder.plans, {trial.stored.record.plan.order for trial in trials}),
        trials=trials,
        arms=arms,
        first_scenario=spec.scenarios[0].name,
        table=main_table(arms, spec.scenarios[0].name),
        rest=rest_table(trialled),
        instruments=instrument_table(trialled),
        problems=problems_of(trials),
        failures=failures_of(trials),
        evidence=evidence_of(trialled, {plan.arm for plan in folder.plans}),
        predictor=record_of(trialled),
        ticks=ticks_of(trialled),
        command=str(header["command"]),
        environment=environment_of(trials),
    )


def to_come(plans: Sequence[Plan], made: Set[int]) -> str:
    """What is planned and not made yet, in words: each block that was begun, and all that were not; empty when nothing is."""
    blocks: dict[int, list[Plan]] = {}
    for plan in plans:
        blocks.setdefault(plan.block, []).append(plan)
    left = {block: sum(plan.order not in made for plan in members) for block, members in blocks.items()}
    begun = [block for block, count in left.items() if 0 < count < len(blocks[block])]
    whole = [block for block, count in left.items() if count and block not in begun]
    words = [f"{_trials(left[block])} of {_block(block)}" for block in begun]
    if whole:
        words.append(f"all of {_blocks(whole[0], whole[-1])} ({_trials(sum(left[block] for block in whole))})")
    return ", and ".join(words)


def _block(number: int) -> str:
    return f"block {number}" if number else "the warm-up"


def _blocks(first: int, last: int) -> str:
    if first == last:
        return _block(first)
    return f"blocks {first} to {last}" if first else f"the warm-up and blocks 1 to {last}"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def environment_of(trials: list[ReportedTrial]) -> list[tuple[str, str]]:
    """Where and with what the last trial was made, as lines for the page: name and value. Empty without trials."""
    if not trials:
        return []
    record = trials[-1].stored.record
    where, spec = record.provenance, record.spec
    commits = sorted({trial.stored.record.provenance.commit or "unknown" for trial in trials})
    accelerator = _ACCELERATORS[where.accelerator]
    apart = "; ".join(
        f"{host} {clock.offset_ns / 1e6:+.1f} ms, known to {clock.offset_error_ns / 1e6:.1f} ms"
        for host, clock in sorted(record.host_clocks.items())
        if clock.offset_error_ns
    )
    unseen = "; ".join(f"{what} ({why})" for what, why in sorted(record.unmeasured.items()))
    lines = [
        ("machine", f"{where.machine_cpu}, {where.machine_cpus} CPUs, {format_bytes(where.machine_memory_bytes)} of memory"),
        ("kernel", where.machine_kernel),
        ("accelerator", accelerator),
        ("CPU placement", "; ".join(f"{who}: {', '.join(map(str, cpus))}" for who, cpus in where.cpu_placement.items())),
        ("CPUs of servers", where.cpu_split or ""),
        ("links", f"{format_rate(spec.link_rate_bytes_per_s)} each way"),
        ("guest", f"{format_bytes(spec.guest.memory_bytes)}, {spec.guest.vcpus} vCPU, "
         f"{format_bytes(spec.guest.disk_bytes)} of disk"),
        ("stream", f"{format_rate(spec.stream.bitrate_bytes_per_s)}, read-ahead {format_duration(spec.stream.read_ahead_s)}"),
        ("storage", spec.migration.storage),
        ("move", f"{spec.migration.technique}, at most {format_duration(spec.migration.max_downtime_s)} of downtime planned, "
                 f"{spec.migration.max_rounds} rounds, {format_duration(spec.migration.timeout_s)}"),
        ("bandwidth", _bandwidth(spec.migration)),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(_versions(trials).items()))),
        ("whimbrel", f"{where.whimbrel}, commit {', '.join(commits)}"),
        ("seed", str(spec.seed)),
        ("clocks apart", apart),
        ("not measured", unseen),
    ]  # fmt: skip
    return [(name, text) for name, text in lines if text]


def _bandwidth(migration: MigrationSpec) -> str:
    """What was asked for, and what moves were held to where that is less; empty where nothing was."""
    asked = migration.bandwidth_bytes_per_s
    if asked is None:
        return ""
    return f"at most {format_rate(asked)}" + (f", {migration.bandwidth_note}" if migration.bandwidth_note else "")


def _versions(trials: list[ReportedTrial]) -> dict[str, str]:
    found: dict[str, str] = {}
    for trial in trials:
        found |= {name: version for name, version in trial.stored.record.provenance.versions.items() if version}
    return found
