"""One lab for all tests that want one; its images and saved states are those of scenarios/quick.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from whimbrel.campaign import plan_trials
from whimbrel.guests.states import StateStore
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.making import make_images, make_states
from whimbrel.moves.needs import wanted_of
from whimbrel.moves.starts import Starts
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.lab import LabSpec
from whimbrel.spec.load import load_campaign

PROJECT = Path(__file__).parents[1]
QUICK = PROJECT / "scenarios" / "quick.yaml"
# Fast links: these tests ask whether it works, not how long it takes.
OVERRIDES = ["lab.name=tests", "lab.link_rate=1 Gbit/s", "observe.at_rest=1 s", "observe.before=2 s", "observe.after=3 s"]


def quick(*overrides: str) -> CampaignSpec:
    return load_campaign(QUICK, [*OVERRIDES, *overrides])


@pytest.fixture(scope="session")
def spec() -> CampaignSpec:
    return quick()


@contextmanager
def lab_that_is_up(spec: LabSpec) -> Iterator[Lab]:
    with ledger_of(spec.name) as ledger:
        ledger.undo_all()
        made = Lab(spec, ImageStore(), ledger)
        made.up()
        try:
            yield made
        finally:
            made.down()


def make_what_is_missing(lab: Lab, spec: CampaignSpec, *only: str) -> None:
    """What trials of these scenarios, or of all, start from, where the store does not have it: two at a time."""
    wanted = wanted_of(spec, plan_trials(spec, frozenset(only)))
    make_images(wanted, lab.files.store, lab.ledger, print)
    make_states(wanted, Starts(lab), lab, print)


@pytest.fixture(scope="session")
def lab(spec: CampaignSpec) -> Iterator[Lab]:
    with lab_that_is_up(spec.lab) as made:
        yield made


@pytest.fixture(scope="session")
def states(lab: Lab, spec: CampaignSpec) -> StateStore:
    make_what_is_missing(lab, spec)
    return StateStore(lab, spec.guest, spec.stream)
