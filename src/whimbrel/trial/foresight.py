"""What a campaign expects of each move before it is made, so that it measures the predictor too.

Each arm's guest is profiled once for each saved state, before the first trial. What moves take beside their memory is learned
from the campaign's own earlier trials of the same form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from whimbrel.analysis.kept import kept_figures
from whimbrel.errors import UsageError
from whimbrel.hosts.site import Site
from whimbrel.moves.fresh import Start
from whimbrel.predict.move import expectation_of, why_not
from whimbrel.predict.overheads import Overheads, Seen, learn
from whimbrel.predict.profile import Profile
from whimbrel.predict.range import Range
from whimbrel.records.caller import make_folder
from whimbrel.records.store import CampaignFolder, StoredTrial, read_json, write_json
from whimbrel.records.trial import Expected, Plan, Prediction
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.clock import read_pair
from whimbrel.trial.rehearsal import rehearse

# What a trial asks once it knows what its link gives (None where that cannot be tried).
Foretell = Callable[[float | None], Prediction]

_PROFILES = TypeAdapter(Profile)


class Foresight:
    """Profiles and predicts for one campaign."""

    def __init__(self, site: Site, folder: CampaignFolder, told: Callable[[str], None]) -> None:
        self._site = site
        self._folder = folder
        self._told = told
        self._seen: dict[str, list[Seen]] = {}

    def prepare(self, spec: CampaignSpec, plan: Plan, start: Start) -> None:
        """Profiles this trial's guest, unless it is not to be predicted, or was profiled before. ``spec`` as it is in its arm."""
        if spec.observe.profile_for_s is None or not _is_predicted(spec, plan):
            return
        file = self._file(spec, plan)
        if not file.exists():
            self._told(f"profiling the guest of {plan.arm}, boot {plan.state_boot}")
            profile = rehearse(self._site, spec, plan, start, spec.observe.profile_for_s, self._told)
            make_folder(file.parent)
            write_json(file, _PROFILES.dump_python(profile, mode="json"))

    def of(self, spec: CampaignSpec, plan: Plan) -> Foretell | None:
        """How the trial is to predict its move; None when it is not to."""
        if spec.observe.profile_for_s is None or not _is_predicted(spec, plan):
            return None
        return partial(foretell, self._file(spec, plan), spec, tuple(self._seen.get(plan.form, ())))

    def learn(self, stored: StoredTrial) -> None:
        """What this trial shows is known to those that follow, where they are to be predicted."""
        seen = seen_in(stored) if stored.record.spec.observe.profile_for_s is not None else None
        if seen is not None:
            self._seen.setdefault(stored.record.plan.form, []).append(seen)

    def _file(self, spec: CampaignSpec, plan: Plan) -> Path:
        """By all that changes how the guest dirties its memory: arms that differ in the move alone share a profile."""
        what = [
            plan.scenario, plan.form, plan.engine, str(plan.viewers), str(plan.hls_viewers),
            spec.guest.model_dump_json(), spec.stream.model_dump_json(),
            *([f"{plan.vlc_viewers} vlc"] if plan.vlc_viewers else []),
        ]  # fmt: skip
        return self._folder.profiles / f"{hashlib.sha256(' '.join(what).encode()).hexdigest()[:12]}-{plan.state_boot}.json"


def foretell(profile_file: Path, spec: CampaignSpec, seen: Sequence[Seen], link_bytes_per_s: float | None) -> Prediction:
    """What is expected of one move: from its guest's profile, what earlier ones have shown, and what its link gives."""
    overheads = learn(seen)
    found = expectation_of(read_profile(profile_file), link_bytes_per_s, spec, spec.migration, overheads)
    return Prediction(
        made_ns=read_pair().monotonic_ns,
        profile=profile_file.name,
        link_bytes_per_s=link_bytes_per_s,
        learned_from=overheads.learned_from,
        converges=found.converges,
        forced=found.forced,
        rest_s=found.rest_s,
        rounds=found.rounds,
        total_s=_expected(found.total_s),
        downtime_s=_expected(found.downtime_s),
        blackout_s=_expected(found.blackout_s),
        reachability_gap_s=_expected(found.reachability_gap_s),
        service_gap_s=_expected(found.service_gap_s),
        sent_bytes=_expected(found.sent_bytes),
    )


def read_profile(file: Path) -> Profile:
    """A profile that a campaign has kept; UsageError names the file when it is damaged."""
    try:
        return _PROFILES.validate_python(read_json(file))
    except ValidationError as error:
        raise UsageError(f"{file}: is damaged: {error.errors()[0]['msg']}", resolution="remove it: it is made anew") from error


def _is_predicted(spec: CampaignSpec, plan: Plan) -> bool:
    return plan.moves and why_not(spec.migration) is None


def _expected(found: Range | None) -> Expected | None:
    return Expected(middle=found.middle, least=found.least, most=found.most) if found is not None else None


def overheads_from(folders: Sequence[Path]) -> Overheads:
    """What moves took beside their memory, as far as these results of earlier ones say."""
    trials = (stored for folder in folders for stored in CampaignFolder.open(folder).trials())
    return learn([found for stored in trials if (found := seen_in(stored)) is not None])


def seen_in(stored: StoredTrial) -> Seen | None:
    """What one move took beside its memory; None for a trial without a pre-copy move of a VM that was measured."""
    move = stored.record.move
    migration = stored.record.spec.migration
    figures = kept_figures(stored)
    if move is None or not figures.measured or migration.moves != "vm" or migration.technique != "pre-copy":
        return None
    ends = {phase.name: (phase.from_ns, phase.to_ns) for phase in figures.phases}
    # There are no phases where the clock of a host could not be read.
    first_ns, resumed_ns = ends.get("pre-copy", (None, None))[0], ends.get("stop-and-copy", (None, None))[1]
    rest = stored.record.rest
    link_bytes_per_s = rest.link_bytes_per_s if rest is not None else None
    at_last_bytes = move.qemu_ram.get("downtime-bytes") if move.qemu_ram is not None else None
    last_ms = 1e3 * at_last_bytes / link_bytes_per_s if at_last_bytes is not None and link_bytes_per_s else None
    said = stored.record.prediction
    return Seen(
        before_s=None if first_ns is None else (first_ns - move.called_ns) / 1e9,
        after_s=None if resumed_ns is None else (move.returned_ns - resumed_ns) / 1e9,
        stop_s=_longer_s(figures.qemu_downtime_ms, last_ms),
        switch_s=_longer_s(figures.blackout_ms, figures.qemu_downtime_ms),
        announce_s=_longer_s(figures.reachability_gap_ms, figures.blackout_ms),
        packet_s=_longer_s(figures.service_gap_ms, figures.reachability_gap_ms),
        link_bytes_per_s=link_bytes_per_s,
        rest_share=last_ms / 1e3 / said.rest_s if last_ms is not None and said is not None and said.rest_s else None,
    )


def _longer_s(figure_ms: float | None, than_ms: float | None) -> float | None:
    return None if figure_ms is None or than_ms is None else max(0.0, figure_ms - than_ms) / 1e3
