"""Kept figures are those that would be derived now, or they do not count."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import whimbrel
from tests.campaigns import RECORDED
from whimbrel.analysis import kept
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.analysis.kept import kept_figures
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder, StoredTrial, write_json
from whimbrel.report.load import load_trials


class Derivations:
    """Counts how often figures are derived anew."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, stored: StoredTrial) -> TrialFigures:
        self.count += 1
        return figures_of(stored)


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> Derivations:
    found = Derivations()
    monkeypatch.setattr(kept, "figures_of", found)
    return found


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))


def first(campaign: CampaignFolder) -> StoredTrial:
    """As it lies there now."""
    return CampaignFolder.open(campaign.folder).trials()[0]


def test_what_was_derived_is_read_and_the_same(campaign: CampaignFolder, derived: Derivations) -> None:
    anew = [figures_of(stored) for stored in campaign.trials()]
    assert [trial.figures for trial in load_trials(campaign)] == anew
    assert derived.count == 3
    for _ in range(2):
        assert [trial.figures for trial in load_trials(campaign)] == anew
    assert derived.count == 3
    assert [trial.figures.model_dump_json() for trial in load_trials(campaign)] == [each.model_dump_json() for each in anew]


def test_a_copy_needs_no_derivation_wherever_and_whenever_it_is_made(
    campaign: CampaignFolder, derived: Derivations, tmp_path: Path
) -> None:
    load_trials(campaign)
    copy = tmp_path / "copy"
    shutil.copytree(campaign.folder, copy, copy_function=shutil.copyfile)
    for file in copy.rglob("*.*"):
        os.utime(file, (1, 1))
    load_trials(CampaignFolder.open(copy))
    assert derived.count == 3


def same_stamps(file: Path, content: bytes) -> None:
    """Another content of the same length and, as far as anybody can tell by it, of the same time."""
    state = file.stat()
    assert len(content) == state.st_size
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def longer_move(folder: Path) -> None:
    content = (folder / "trial.json").read_bytes()
    returned = str(json.loads(content)["move"]["returned_ns"])
    changed = returned[:-9] + f"{(int(returned[-9:]) + 1) % 10**9:09d}"
    same_stamps(folder / "trial.json", content.replace(returned.encode(), changed.encode()))


def other_series(folder: Path) -> None:
    hosts = pl.read_parquet(folder / "hosts.parquet")
    hosts.with_columns(pl.col("cpu_s") * 2).write_parquet(folder / "hosts.parquet")


def no_series(folder: Path) -> None:
    (folder / "probe.parquet").unlink()


def other_figure(folder: Path) -> None:
    content = json.loads((folder / "derived.json").read_text())
    write_json(folder / "derived.json", content | {"total_s": content["total_s"] + 1})


def of_another_trial(folder: Path) -> None:
    other = sorted(folder.parent.iterdir())[1]
    shutil.copyfile(other / "derived.json", folder / "derived.json")


def of_an_older_whimbrel(folder: Path) -> None:
    content = json.loads((folder / "derived.json").read_text())
    del content["checksum"]
    write_json(folder / "derived.json", content | {"derived_version": 4, "total_s": 1.0})


def damaged(folder: Path) -> None:
    (folder / "derived.json").write_bytes(b"\xff\x00")


def no_object(folder: Path) -> None:
    (folder / "derived.json").write_text("[]")


def cut_off(folder: Path) -> None:
    text = (folder / "derived.json").read_text()
    (folder / "derived.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    "change",
    [longer_move, other_series, no_series, other_figure, of_another_trial, of_an_older_whimbrel, damaged, no_object, cut_off],
)
def test_what_is_stale_or_foreign_is_derived_anew(
    campaign: CampaignFolder, derived: Derivations, change: Callable[[Path], None]
) -> None:
    load_trials(campaign)
    change(first(campaign).folder)
    anew = figures_of(first(campaign))
    before = derived.count
    assert kept_figures(first(campaign)) == anew
    assert derived.count == before + 1
    # And kept from then on.
    assert kept_figures(first(campaign)) == anew
    assert derived.count == before + 1


def test_other_code_derives_anew(campaign: CampaignFolder, derived: Derivations, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_figures(first(campaign))
    monkeypatch.setattr(kept, "CODE_SHA256", "another")
    kept_figures(first(campaign))
    assert derived.count == 2


def test_the_code_is_all_that_figures_come_from(tmp_path: Path) -> None:
    source = Path(whimbrel.__file__).parent
    copy = Path(shutil.copytree(source, tmp_path / "whimbrel", ignore=shutil.ignore_patterns("__pycache__")))
    found = {kept.code_sha256(copy)}
    assert found == {kept.CODE_SHA256}
    for name in ("analysis/gaps.py", "records/trial.py", "spec/service.py", "units.py"):
        with (copy / name).open("a") as file:
            file.write("\n# changed\n")
        found.add(kept.code_sha256(copy))
    assert len(found) == 5
    (copy / "cli" / "app.py").write_text("")
    assert kept.code_sha256(copy) in found


def test_a_record_that_is_not_the_one_on_disk_is_neither_read_nor_kept(campaign: CampaignFolder, derived: Derivations) -> None:
    stored = first(campaign)
    of_disk = kept_figures(stored)
    text = (stored.folder / "derived.json").read_text()
    assert stored.record.move is not None
    longer = stored.record.move.model_copy(update={"returned_ns": stored.record.move.returned_ns + 10**9})
    other = replace(stored, record=stored.record.model_copy(update={"move": longer}))
    found = kept_figures(other)
    assert found.total_s is not None
    assert of_disk.total_s is not None
    assert found.total_s == pytest.approx(of_disk.total_s + 1)
    assert (stored.folder / "derived.json").read_text() == text


def test_figures_of_a_record_that_changes_meanwhile_are_not_kept(
    campaign: CampaignFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = first(campaign)
    (stored.folder / "derived.json").unlink(missing_ok=True)

    def slowly(stored: StoredTrial) -> TrialFigures:
        figures = figures_of(stored)
        other_series(stored.folder)
        return figures

    monkeypatch.setattr(kept, "figures_of", slowly)
    kept_figures(stored)
    assert not (stored.folder / "derived.json").exists()


def test_what_cannot_be_written_is_shown(campaign: CampaignFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(kept, "write_json", refused)
    assert kept_figures(first(campaign)) == figures_of(first(campaign))


def test_a_series_that_cannot_be_read_is_named_as_ever(campaign: CampaignFolder) -> None:
    load_trials(campaign)
    folder = first(campaign).folder
    (folder / "hosts.parquet").write_bytes(b"no parquet")
    with pytest.raises(UsageError, match=r"hosts\.parquet: is damaged"):
        kept_figures(first(campaign))
    (folder / "hosts.parquet").unlink()
    (folder / "hosts.parquet").mkdir()
    with pytest.raises(UsageError, match=r"hosts\.parquet: is damaged"):
        kept_figures(first(campaign))
