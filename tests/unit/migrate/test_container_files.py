"""What a container has written goes ahead, and what has changed since follows: with the scripts' own functions, in real files."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

_SCRIPT = files("whimbrel.migrate.container") / "files.sh"
_HOME = "/srv/origin"


_FILES = (
    "stays/as it is",
    "stays/\n$(touch gone)",
    "log",
    "dated",
    "mapped",
    "one",
    "folder/inner/deep",
    "folder/other",
    "removed/a",
    "removed/b",
    "becomes a folder",
    "becomes a file/x/y",
    "becomes a link/x",
    "a/-x",
)


class _End:
    """One end of a move: a root of its own, with the move's folder and the container's files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.move = root / "run/move"
        self.upper = root / _HOME[1:] / "upper"
        for folder in (self.move, self.upper):
            folder.mkdir(parents=True)
        os.mkfifo(self.move / "never")

    def run(self, what: str) -> subprocess.CompletedProcess[str]:
        """Runs this with the functions of the script."""
        places = {"ROOT": str(self._root), "MOVE": str(self.move), "HOME_OF": _HOME, "FILES": str(_SCRIPT)}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **places}
        command = f'. "$FILES"; cd "$MOVE"; {what}'
        return subprocess.run(["bash", "-c", command], env=environment, text=True, capture_output=True)

    def do(self, what: str) -> None:
        """Runs it; it must succeed."""
        done = self.run(what)
        assert done.returncode == 0, done.stderr

    def content(self) -> dict[str, object]:
        """What every path is: kind, rights, and what is in it; and which paths are one file."""
        found: dict[str, object] = {}
        paths = sorted(self.upper.rglob("*"))
        for path in paths:
            state = path.lstat()
            inside = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
            same = [str(other.relative_to(self.upper)) for other in paths if other.lstat().st_ino == state.st_ino]
            when = None if path.is_dir() else state.st_mtime_ns
            found[str(path.relative_to(self.upper))] = (state.st_mode, when, inside, same)
        return found


@pytest.fixture
def ends(tmp_path: Path) -> tuple[_End, _End]:
    return _End(tmp_path / "source"), _End(tmp_path / "destination")


def _fill(upper: Path) -> None:
    for name in _FILES:
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text(f"first {name}")
    os.utime(upper / "dated", (0, 0))
    (upper / "link").symlink_to("log")
    (upper / "mapped").write_bytes(bytes(8192))


def _change(upper: Path) -> None:
    with (upper / "log").open("a") as log:
        log.write("more")
    (upper / "dated").write_text("other dated")
    os.utime(upper / "dated", (0, 0))
    (upper / "folder/inner").rename(upper / "stays/moved here")
    shutil.rmtree(upper / "removed")
    (upper / "becomes a folder").unlink()
    (upper / "becomes a folder/new").mkdir(parents=True)
    shutil.rmtree(upper / "becomes a file")
    (upper / "becomes a file").write_text("now a file")
    shutil.rmtree(upper / "becomes a link")
    (upper / "becomes a link").symlink_to("/")
    os.link(upper / "one", upper / "the same one")
    (upper / "folder/other").chmod(0o600)
    shutil.rmtree(upper / "a")
    (upper / "\tnew file").write_text("new")


def _send(source: _End, destination: _End, meanwhile: Callable[[], None]) -> Path:
    """The whole way; returns the second archive."""
    source.do("note_files && pack_all >ahead.tar")
    shutil.copy(source.move / "ahead.tar", destination.move)
    destination.do("unpack ahead.tar")
    assert destination.content() == source.content()
    meanwhile()
    source.do("compare_files && pack_changed >files.tar")
    shutil.copy(source.move / "files.tar", destination.move)
    return destination.move / "files.tar"


def test_what_changed_after_it_was_sent_follows(ends: tuple[_End, _End]) -> None:
    source, destination = ends
    _fill(source.upper)
    archive = _send(source, destination, lambda: _change(source.upper))
    destination.do("unpack_changed files.tar")
    assert destination.content() == source.content()
    with tarfile.open(archive) as packed:
        assert not {f"{_HOME[1:]}/upper/{name}" for name in ("stays/as it is", "link")} & set(packed.getnames())


def test_nothing_follows_when_nothing_changed(ends: tuple[_End, _End]) -> None:
    source, destination = ends
    _fill(source.upper)
    archive = _send(source, destination, lambda: None)
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["run/move/gone", "run/move/changed"]
    destination.do("unpack_changed files.tar")
    assert destination.content() == source.content()


def test_a_write_into_a_mapped_file_shows_though_its_page_was_dirty_before(ends: tuple[_End, _End]) -> None:
    source, destination = ends
    _fill(source.upper)
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(source.upper)], capture_output=True, text=True).stdout.strip()
    if kind == "tmpfs":
        pytest.skip("files in memory are never sent ahead, for this very reason")
    with (source.upper / "mapped").open("r+b") as file, closing(mmap.mmap(file.fileno(), 8192)) as mapping:
        mapping[0] = 1

        def write() -> None:
            mapping[0] = 2

        _send(source, destination, write)
        destination.do("unpack_changed files.tar")
        assert (destination.upper / "mapped").read_bytes()[0] == 2


@pytest.mark.parametrize("changed", [True, False])
def test_a_folder_that_leads_elsewhere_is_refused(ends: tuple[_End, _End], tmp_path: Path, changed: bool) -> None:
    """As a container could make one between our listing and our reading."""
    source, destination = ends
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "deep").write_text("not the container's")
    _fill(source.upper)

    def meanwhile() -> None:
        shutil.rmtree(destination.upper / "folder/inner")
        (destination.upper / "folder/inner").symlink_to(elsewhere)
        if changed:
            (source.upper / "folder/inner/deep").write_text("changed")
        else:
            (source.upper / "folder/inner/deep").unlink()

    _send(source, destination, meanwhile)
    assert destination.run("unpack_changed files.tar").returncode != 0
    assert (elsewhere / "deep").read_text() == "not the container's"
