"""A ledger whose files are damaged forgets nothing, and one that is being removed is never left for kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.cli.lab import gc
from whimbrel.errors import CleanUpError, EngineError
from whimbrel.system import ledger as ledgers
from whimbrel.system.ledger import Entry, Ledger


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    monkeypatch.setattr("whimbrel.cli.lab.need_root", lambda what: None)
    return tmp_path


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of domains whose host does not answer."""
    names = ["on b"]

    def undo(name: str) -> None:
        if name in names:
            raise EngineError("host b does not answer")

    monkeypatch.setitem(ledgers.undo_elsewhere, "domain", undo)
    return names


DAMAGED = [
    b"nonsense",
    b'{"kind": "planet", "name": "x"}',
    b'{"kind": "folder", "name": 7}',
    b"[]",
    b"\xff\xfe\xfd",
    b'{"kind": "folder"}',
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_line_that_cannot_be_read_is_never_forgotten(home: Path, line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    made = [home / "first", home / "last"]
    with Ledger("lab-x") as ledger:
        for folder in made:
            ledger.add("folder", str(folder))
            folder.mkdir()
        file = home / "ledger" / "lab-x.jsonl"
        file.write_bytes(file.read_bytes().replace(b"\n\n", b"\n" + line + b"\n"))
        # What is struck leaves it where it is.
        ledger.undo(Entry("folder", str(made[0])))
        assert line in file.read_bytes()
        assert ledger.entries == [Entry("folder", str(made[1]))]
    for _ in range(2):
        with pytest.raises(CleanUpError, match="some things could not be removed") as caught:
            gc()
        assert "lab-x.jsonl.damaged: lines of it cannot be read" in str(caught.value)
        assert "nothing was left behind" not in capsys.readouterr().out
    assert not made[1].exists()
    [aside] = (home / "ledger").glob("*.damaged*")
    assert line in aside.read_bytes()
    aside.unlink()
    gc()
    assert capsys.readouterr().out == "nothing was left behind\n"


@pytest.mark.parametrize("content", ["", "\0\0\0", "3f", "nonsense\nmore"])
def test_what_was_left_on_purpose_is_left_though_nobody_can_read_since_when(home: Path, content: str) -> None:
    with Ledger("hosts-x") as ledger:
        ledger.add("folder", str(home / "made"))
        ledger.keep("a note", elsewhere=True)
        (home / "ledger" / "hosts-x.kept").write_text(content)
        assert ledger.kept
    (home / "made").mkdir()
    gc()
    assert (home / "made").exists()
    gc(everything=True)
    assert not (home / "made").exists()


def test_a_record_goes_last_and_only_when_the_rest_has_gone(
    home: Path, silent: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    record, other = home / "record", home / "other"
    with Ledger("hosts-x") as ledger:
        for kind, name in (("record", str(record)), ("domain", "on b"), ("folder", str(other)), ("domain", "on a")):
            ledger.add(kind, name)  # type: ignore[arg-type]
        for folder in (record, other):
            folder.mkdir()
        ledger.keep("", elsewhere=True)
        with pytest.raises(CleanUpError, match="host b does not answer"):
            ledger.undo_all()
        assert (record.exists(), other.exists()) == (True, False)
        assert ledger.entries == [Entry("record", str(record)), Entry("domain", "on b")]
    # It is to be removed, so gc tries again.
    with pytest.raises(CleanUpError, match="host b does not answer"):
        gc()
    assert capsys.readouterr().out == ""
    silent.clear()
    gc()
    assert capsys.readouterr().out.splitlines() == [f"removed record {record}", "removed domain on b"]
    assert not record.exists()


def test_one_that_was_killed_while_it_was_removed_is_not_taken_for_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(ledgers.undo_elsewhere, "domain", killed)
    with Ledger("lab-x") as ledger:
        ledger.add("domain", "on a")
        ledger.keep("a note")
        with pytest.raises(KeyboardInterrupt):
            ledger.undo_all()
        assert not ledger.kept
        assert ledger.entries == [Entry("domain", "on a")]
