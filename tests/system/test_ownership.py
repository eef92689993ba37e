"""What root writes where a user has said is that user's, and no link there leads root elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.labs import quick
from whimbrel.errors import UsageError
from whimbrel.records.caller import copy_tree, make_folder, write_file
from whimbrel.records.store import CampaignFolder

NOBODY = 65534
OTHER = 12345


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that everybody may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="whimbrel-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def by_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))


@pytest.fixture
def by_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)


def owned(folder: Path, uid: int) -> Path:
    folder.mkdir()
    os.chown(folder, uid, uid)
    return folder


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in (folder, *folder.rglob("*"))}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What root alone can read, as a trial that was made."""
    (tmp_path / "made" / "logs").mkdir(parents=True)
    (tmp_path / "made").chmod(0o700)
    for name in ("trial.json", "logs/a.log"):
        (tmp_path / "made" / name).write_text("of the trial")
        (tmp_path / "made" / name).chmod(0o600)
    return tmp_path / "made"


@pytest.mark.usefixtures("by_sudo")
def test_results_are_those_of_who_called_sudo(top: Path, made: Path) -> None:
    results = owned(top / "home", NOBODY) / "results" / "one"
    CampaignFolder.create(results, quick(), "test", [])
    copy_tree(made, results / "trials" / "one")
    write_file(results / "report.html", b"page")
    assert owners(results.parent) == {(NOBODY, NOBODY)}
    assert (results / "trials" / "one" / "logs" / "a.log").read_text() == "of the trial"
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.usefixtures("by_sudo")
def test_where_an_earlier_run_of_root_has_left_the_folder_above_to_root_results_are_still_the_callers(top: Path) -> None:
    above = owned(owned(top / "home", NOBODY) / "results", 0)
    make_folder(above / "one" / "trials")
    write_file(above / "one" / "trials" / "file", b"x")
    assert owners(above / "one") == {(NOBODY, NOBODY)}


@pytest.mark.usefixtures("by_sudo")
def test_where_the_caller_cannot_get_to_root_writes_as_root(tmp_path: Path) -> None:
    make_folder(tmp_path / "results" / "one")
    write_file(tmp_path / "results" / "one" / "file", b"x")
    assert owners(tmp_path / "results") == {(0, 0)}


@pytest.mark.usefixtures("by_root")
def test_root_itself_keeps_its_results(top: Path, made: Path) -> None:
    CampaignFolder.create(top / "results", quick(), "test", [])
    copy_tree(made, top / "results" / "trials" / "one")
    assert owners(top / "results") == {(0, 0)}


@pytest.mark.usefixtures("by_root")
def test_what_root_writes_into_a_users_folder_is_that_users(top: Path, made: Path) -> None:
    results = owned(top / "theirs", OTHER) / "results"
    CampaignFolder.create(results, quick(), "test", [])
    copy_tree(made, results / "trials" / "one")
    assert owners(results) == {(OTHER, OTHER)}


# What somebody may plant in a folder of his: where it is, and where it leads within root's folder.
PLANTED = {"a file": "campaign.json", "a file that is about to be": "campaign.json.new", "a folder": "trials"}


@pytest.mark.parametrize("called", ["by_sudo", "by_root"])
@pytest.mark.parametrize("planted", PLANTED)
def test_no_link_leads_root_elsewhere(top: Path, made: Path, planted: str, called: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(called)
    roots = owned(top / "roots", 0)
    (roots / "kept").write_text("kept")
    theirs = owned(top / "theirs", NOBODY)
    (theirs / PLANTED[planted]).symlink_to(roots if planted == "a folder" else roots / "kept")
    with suppress(OSError, UsageError):
        CampaignFolder.create(theirs, quick(), "test", [])
        copy_tree(made, theirs / "trials" / "one")
    assert {path.name: path.read_text() for path in roots.iterdir()} == {"kept": "kept"}
    assert owners(roots) == {(0, 0)}


@pytest.mark.parametrize("called", ["by_sudo", "by_root"])
def test_a_folder_that_is_itself_a_link_leads_root_nowhere(top: Path, called: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(called)
    roots = owned(top / "roots", 0)
    theirs = owned(top / "theirs", NOBODY)
    (theirs / "out").symlink_to(roots)
    with pytest.raises((OSError, UsageError)):
        make_folder(theirs / "out" / "trials")
    with pytest.raises(OSError, match="Permission denied"):
        write_file(theirs / "out" / "file", b"x")
    assert list(roots.iterdir()) == []


@pytest.mark.usefixtures("by_sudo")
def test_root_is_root_again_after_an_error(top: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        write_file(owned(top / "theirs", NOBODY), b"x")
    assert (os.geteuid(), os.getegid()) == (0, 0)
