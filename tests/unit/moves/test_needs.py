"""Programs of others that viewers are made of: needed where a file asks for them, and said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.errors import CapabilityError
from whimbrel.moves.needs import examine_clients, need_clients
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign

PAPER = Path(__file__).parents[3] / "scenarios" / "paper.yaml"


@pytest.fixture
def without_vlc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def with_vlc(folder: Path) -> None:
    (folder / "vlc").write_text("#!/bin/sh\n")
    (folder / "vlc").chmod(0o755)


def alone(spec: CampaignSpec, name: str) -> CampaignSpec:
    return spec.model_copy(update={"scenarios": tuple(each for each in spec.scenarios if each.name == name)})


def test_a_file_without_viewers_of_vlc_does_not_need_it(without_vlc: None) -> None:
    spec = load_campaign(PAPER)
    assert examine_clients(alone(spec, "baseline")) == []
    need_clients(alone(spec, "baseline"))
    [finding] = examine_clients(None)
    assert (finding.name, finding.works, finding.needed) == ("VLC for vlc_viewers", False, False)


def test_a_file_with_them_says_what_to_install(without_vlc: None, tmp_path: Path) -> None:
    spec = load_campaign(PAPER)
    [finding] = examine_clients(spec)
    assert (finding.works, finding.needed) == (False, True)
    with pytest.raises(CapabilityError, match=r"installs it \(vlc-bin vlc-plugin-base\)"):
        need_clients(spec)
    with_vlc(tmp_path)
    need_clients(spec)
    assert [(each.works, each.seen) for each in examine_clients(spec)] == [(True, str(tmp_path / "vlc"))]
