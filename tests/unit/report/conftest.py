"""Campaigns as they are published: one that is made up, and all that are in docs/results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import watched
from tests.published import Published
from whimbrel.report.as_json import summary
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of, write_tables
from whimbrel.report.layout import write_page

_RESULTS = Path(__file__).parents[3] / "docs" / "results"
_PUBLISHED = sorted(folder for folder in _RESULTS.glob("*") if folder.is_dir())


@pytest.fixture(scope="session", params=["watched", *_PUBLISHED], ids=lambda param: getattr(param, "name", param))
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = request.param if isinstance(request.param, Path) else _watched(tmp_path_factory.mktemp("watched"))
    return Published(folder)


def _watched(place: Path) -> Path:
    campaign = watched.write(place / "campaign")
    report = build_report(campaign)
    write_tables(tables_of("watched", report.trials), campaign.folder)
    write_page(campaign, report)
    (campaign.folder / "summary.json").write_text(json.dumps(summary(report, campaign.folder)))
    return campaign.folder
