"""``python -m benchmarks.anew FOLDER``: every move of a campaign predicted once more, by the model as it is now.

From what the campaign itself knew before each move: its profiles, what the link gave, and earlier trials. For work on the
model, not a test of it: who changes the model has seen these very moves. Needs neither root nor a lab.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.predictor import compare, record_of
from whimbrel.predict.overheads import Seen
from whimbrel.records.store import CampaignFolder
from whimbrel.trial.foresight import foretell, seen_in


def anew(folder: CampaignFolder) -> list[Trialled]:
    """The campaign's predicted trials, in their order, with predictions made anew."""
    seen: dict[str, list[Seen]] = {}
    found = []
    for stored in sorted(folder.trials(), key=lambda stored: stored.record.plan.order):
        record = stored.record
        of_form = seen.setdefault(record.plan.form, [])
        if record.prediction is not None:
            said = record.prediction
            again = foretell(folder.profiles / said.profile, record.spec, tuple(of_form), said.link_bytes_per_s)
            found.append(Trialled(record.model_copy(update={"prediction": again}), figures_of(stored)))
            record = found[-1].record
        shown = seen_in(replace(stored, record=record))
        if shown is not None:
            of_form.append(shown)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anew", description=__doc__)
    parser.add_argument("folder", type=Path, help="the results of a campaign whose moves were predicted")
    parser.add_argument("--each", action="store_true", help="every figure of every move, too")
    given = parser.parse_args()
    trials = anew(CampaignFolder(given.folder))
    for trial in trials if given.each else []:
        for one in compare(trial):
            print(f"{one.trial}\t{one.arm}\t{one.figure}\t{one.expected.middle:.6g}\t{one.expected.least:.6g}"
                  f"\t{one.expected.most:.6g}\t{one.measured:.6g}\t{'' if one.inside else 'outside'}")  # fmt: skip
    predictor = record_of(trials)
    for line in predictor.words if predictor is not None else ["No move of this campaign was predicted."]:
        print(line)


if __name__ == "__main__":
    main()
