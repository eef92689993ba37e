"""Small files on disk: whole whatever happens, and told apart when they are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from whimbrel.durable import append_line, put_aside, read_lines, replace_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


class Calls:
    """What is done to the disk, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        real_fsync, real_replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            self.made.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            real_fsync(descriptor)

        def replace(path: Path, target: Path) -> Path:
            self.made.append(f"rename {path.name} {target.name}")
            return real_replace(path, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)


def test_content_is_on_disk_before_its_name_and_the_name_before_it_returns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    replace_text(file, "new")
    written, renamed, folder = calls.made
    fresh = written.removeprefix("fsync ")
    assert renamed == f"rename {fresh} file.json"
    assert folder == f"fsync {file.parent.name}"
    assert file.read_text() == "new"


def test_what_can_be_made_again_waits_for_no_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    replace_text(file, "new", lasting=False)
    assert [call.split()[0] for call in calls.made] == ["rename"]


def test_without_room_the_old_file_stays_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "new")
    assert [(path.name, path.read_text()) for path in file.parent.iterdir()] == [("file.json", "old")]


def test_a_new_file_of_lines_has_its_name_on_disk_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    append_line(file, '{"a": 1}')
    append_line(file, '{"a": 2}')
    assert calls.made == ["fsync file.json", f"fsync {file.parent.name}", "fsync file.json"]
    assert [content for _, content in read_lines(file).whole] == [{"a": 1}, {"a": 2}]


LINE = json.dumps({"name": "öffne", "data": {"x": True, "y": [1.5, None], "z": "a\u0007b"}}, ensure_ascii=False)


@pytest.mark.parametrize("line", [LINE, json.dumps(json.loads(LINE))], ids=["utf-8", "escaped"])
def test_a_line_that_was_cut_off_anywhere_is_no_line_and_no_damage(file: Path, line: str) -> None:
    for length in range(len(line.encode())):
        file.write_bytes(b'{"name": "first"}\n' + line.encode()[:length])
        append_line(file, '{"name": "last"}')
        found = read_lines(file)
        assert [content["name"] for _, content in found.whole] == ["first", "last"], length
        assert found.damaged == []


@pytest.mark.parametrize("tail", [b"\0" * 100, b'\n{"name": "po\0\0\0\0'])
def test_a_length_without_content_is_a_line_that_was_cut_off(file: Path, tail: bytes) -> None:
    file.write_bytes(b'{"name": "first"}\n' + tail)
    assert (len(read_lines(file).whole), read_lines(file).damaged) == (1, [])


@pytest.mark.parametrize(
    "damaged", [b"nonsense", b"[1, 2]", b"7", b'"x"', b'{"name": \xff\xfe "x", "data": {}}', b'{"na\x00me": "x", "data": {}}']
)
def test_what_was_never_written_so_is_damage(file: Path, damaged: bytes) -> None:
    file.write_bytes(b'{"name": "first"}\n' + damaged + b'\n{"name": "last"}\n')
    found = read_lines(file)
    assert (len(found.whole), found.damaged) == (2, [2])


def test_each_damaged_file_is_put_aside_under_a_name_of_its_own(file: Path) -> None:
    for content in ("one", "two"):
        file.write_text(content)
        put_aside(file)
    assert {path.name: path.read_text() for path in file.parent.iterdir()} == {
        "file.json.damaged": "one", "file.json.damaged-2": "two",
    }  # fmt: skip
