"""What root makes for a user who called sudo is that user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.cli.run import give_to_caller

NOBODY = 65534


def test_results_are_given_to_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results" / "one"
    (folder / "trials").mkdir(parents=True)
    (folder / "report.html").write_text("x")
    outside = tmp_path / "outside"
    outside.write_text("x")
    (folder / "link").symlink_to(outside)
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    give_to_caller(folder)
    for path in (folder.parent, folder, folder / "trials", folder / "report.html"):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
    # A link is given away itself, never what it points to.
    assert outside.stat().st_uid == 0


def test_root_itself_keeps_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    (tmp_path / "results").mkdir()
    give_to_caller(tmp_path / "results")
    assert (tmp_path / "results").stat().st_uid == 0
