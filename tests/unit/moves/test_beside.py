"""The second process that makes what is missing: it ends with the first, says what it does, and what made it fail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from whimbrel.errors import UsageError
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import ledger_of
from whimbrel.moves import beside as program
from whimbrel.moves import making
from whimbrel.moves.making import made_beside
from whimbrel.spec.lab import LabSpec
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import Running, start


@pytest.fixture
def told() -> list[str]:
    return []


def beside(monkeypatch: pytest.MonkeyPatch, program: str) -> list[Running]:
    """In place of the second process this program is started, in the same way."""
    begun: list[Running] = []

    def start_it(command: list[str | Path], **how: Any) -> Running:
        assert [*map(str, command[:3])] == ["setpriv", "--pdeathsig", "TERM"]
        begun.append(start([*command[:3], sys.executable, "-c", program, *command[6:]], **how))
        return begun[-1]

    monkeypatch.setattr(making, "start", start_it)
    return begun


def test_what_it_says_is_passed_on_and_it_ends_with_the_block(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    begun = beside(monkeypatch, "import sys, time; print('beside:', *sys.argv[1:2], flush=True); time.sleep(600)")
    with Ledger("beside") as ledger:
        with made_beside("images", [], ledger, None, told.append):
            wait_until(lambda: (told or None, "nothing"), "its words", Deadline(20))
            folder = Path(ledger.entries[-1].name)
            assert ((folder / "wanted.json").read_text(), (folder / "lab.json").read_text()) == ("[]", "null")
            assert begun[0].exit_code is None
        assert told == ["beside: images"]
        assert begun[0].exit_code is not None
        assert (folder.exists(), ledger.entries) == (False, [])


def test_it_ends_with_a_block_that_fails(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    begun = beside(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt), Ledger("beside") as ledger, made_beside("states", [], ledger, None, told.append):
        raise KeyboardInterrupt
    assert begun[0].exit_code is not None
    assert told == []


def test_one_that_has_failed_is_no_failure_of_ours_and_says_why(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    begun = beside(monkeypatch, "raise SystemExit('Traceback:\\n  in a line\\nValueError: no room\\n  on the disk')")
    with Ledger("beside") as ledger, made_beside("images", [], ledger, None, told.append):
        wait_until(lambda: (begun[0].exit_code, "it runs"), "its end", Deadline(20))
    assert told == ["what made images beside has failed, and all of them were made here: ValueError: no room"]


def test_the_program_itself_makes_nothing_where_nothing_is_wanted_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    begun: list[Running] = []

    def start_it(command: list[str | Path], **how: Any) -> Running:
        begun.append(start(command, **how))
        return begun[-1]

    monkeypatch.setattr(making, "start", start_it)
    with Ledger("beside") as ledger, made_beside("images", [], ledger, None, told.append):
        wait_until(lambda: (True, "") if begun[0].exit_code is not None else (None, "it runs"), "its end", Deadline(60))
        assert begun[0].exit_code == 0
    assert told == []


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Making the saved states of no trial, in a lab called two-beside; signals stay those of the tests."""
    monkeypatch.setattr("whimbrel.moves.beside.signal.signal", lambda *_: None)
    (tmp_path / "wanted").write_text("[]")
    (tmp_path / "lab").write_text(LabSpec(name="two-beside").model_dump_json())
    return ["states", str(tmp_path / "wanted"), str(tmp_path / "lab")]


def test_a_lab_of_its_name_that_is_up_on_purpose_is_left_alone(task: list[str]) -> None:
    with ledger_of("two-beside") as theirs:
        theirs.keep("{}")
    with pytest.raises(UsageError, match="the lab 'two-beside', which is ours to make states in, is up"):
        program.main(*task)
    assert ledger_of("two-beside").kept


def test_what_a_crash_has_left_of_its_lab_goes_first(task: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    with ledger_of("two-beside") as ledger:
        ledger.add("folder", str(left))
    done: list[str] = []

    class FakeLab:
        """A lab that says what is done with it; the part of ``lab.lab.Lab`` that is used here."""

        def __init__(self, spec: LabSpec, store: ImageStore, ledger: Ledger) -> None:
            assert not left.exists()

        def up(self) -> None:
            done.append("up")

        def down(self) -> None:
            done.append("down")

    monkeypatch.setattr(program, "Lab", FakeLab)
    program.main(*task)
    assert done == ["up", "down"]
    assert not ledger_of("two-beside").entries
