"""Scenarios: read from files, with changes."""

from __future__ import annotations

from pathlib import Path

from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign


def nobody(words: str) -> None:
    """Does nothing: nobody listens to the words."""


def load(file: Path | str, *changes: str) -> CampaignSpec:
    """The scenario that a file describes; each change is ``key=value`` as for ``--set``, such as ``lab.link_rate=1 Gbit/s``.

    SpecError names file, line and key of what is wrong.
    """
    return load_campaign(Path(file), changes)


def scenario_of(given: CampaignSpec | Path | str) -> CampaignSpec:
    """A scenario as it is, or read from its file."""
    return given if isinstance(given, CampaignSpec) else load(given)
