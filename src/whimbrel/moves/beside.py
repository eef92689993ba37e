"""The second process of ``making``: makes what is missing and nobody else makes, and says so on stdout, a line each.

``python -m whimbrel.moves.beside TASK WANTED LAB``, two files of JSON. Told to end by SIGTERM, it leaves nothing half made.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType

from whimbrel.errors import UsageError
from whimbrel.images.jobs import Job, make_all
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.needs import Wanted, image_jobs, state_jobs
from whimbrel.moves.starts import Starts
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.lab import LabSpec

_PATIENCE_S = 30.0


def main(task: str, wanted_file: str, lab_file: str) -> None:
    """Does the task until all is there."""
    signal.signal(signal.SIGTERM, _interrupt)
    wanted = [
        (CampaignSpec.model_validate(spec, context=RECORD), Plan.model_validate(plan))
        for spec, plan in json.loads(Path(wanted_file).read_text())
    ]
    store = ImageStore(lambda text: _say(f"beside: {text}"))
    try:
        if task == "images":
            make_all(image_jobs(wanted, store), store, _nothing, _failed)
        else:
            spec = LabSpec.model_validate(json.loads(Path(lab_file).read_text()), context=RECORD)
            _make_states(wanted, spec, store)
    except KeyboardInterrupt:
        return


def _make_states(wanted: list[Wanted], spec: LabSpec, store: ImageStore) -> None:
    # One whose first process was killed may just be clearing up.
    with ledger_of(spec.name, _PATIENCE_S) as ledger:
        if ledger.kept:
            raise UsageError(f"the lab {spec.name!r}, which is ours to make states in, is up")
        # Of a crash.
        ledger.undo_all()
        lab = Lab(spec, store, ledger)
        lab.up()
        try:
            make_all(state_jobs(wanted, Starts(lab)), store, _nothing, _failed)
        finally:
            lab.down()


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Nothing interrupts the clearing up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _nothing(text: str) -> None:
    """Whom we wait for is no news to those who started us."""


def _failed(job: Job, error: Exception) -> None:
    _say(f"{job.what} could not be made beside, and is made again: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
