"""What a container has written goes ahead, and what has changed since follows: with the scripts' own functions, in real files.

And an archive that means harm gets nothing out of the folder that it is unpacked into.
"""

from __future__ import annotations

import io
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
_HOME = "srv/origin"


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
        self.move = root / "run/move"
        self.home = root / _HOME
        self.upper = self.home / "upper"
        for folder in (self.move, self.upper):
            folder.mkdir(parents=True)
        os.mkfifo(self.move / "never")

    def run(self, what: str) -> subprocess.CompletedProcess[str]:
        """Runs this with the functions of the script; what they mount goes with it."""
        shutil.rmtree(self.move / "jail", ignore_errors=True)
        places = {"MOVE": str(self.move), "HOME_OF": str(self.home), "FILES": str(_SCRIPT)}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **places}
        command = f'. "$FILES"; cd "$MOVE"; build_jails || exit 125; {what}'
        return subprocess.run(["unshare", "--mount", "bash", "-c", command], env=environment, text=True, capture_output=True)

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
    destination.do("unpack_files ahead.tar")
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
        assert not {f"upper/{name}" for name in ("stays/as it is", "link")} & set(packed.getnames())


def test_nothing_follows_when_nothing_changed(ends: tuple[_End, _End]) -> None:
    source, destination = ends
    _fill(source.upper)
    archive = _send(source, destination, lambda: None)
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["images/gone", "upper"]
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
def test_a_folder_that_leads_elsewhere_leads_nowhere(ends: tuple[_End, _End], tmp_path: Path, changed: bool) -> None:
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
    destination.run("unpack_changed files.tar")
    assert (elsewhere / "deep").read_text() == "not the container's"


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", device: tuple[int, int] = (0, 0)) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, (made.devmajor, made.devminor) = kind, link, device
    return made


def _pack(target: Path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(target, "w") as archive:
        for made in members:
            content = b"by the archive" if made.isreg() else b""
            made.size = len(content)
            archive.addfile(made, io.BytesIO(content))


# What each archive is made of, after one that holds a link from upper/way to where it wants to go ("OUT").
HARM = {
    "parent": [_member("upper/../../OUT/new")],
    "many parents": [_member("upper/" + "../" * 20 + "OUT/new")],
    "absolute": [_member("/OUT/new")],
    "elsewhere": [_member("OUT/new"), _member("srv/origin/bundle/new")],
    "by a link of before": [_member("upper/way/new")],
    "by a link of its own": [_member("upper/other", tarfile.SYMTYPE, "/OUT"), _member("upper/other/new")],
    "over a file by a link": [_member("upper/way/kept")],
    "hard link": [_member("upper/hard", tarfile.LNKTYPE, "OUT/kept"), _member("upper/hard")],
    "hard link by a link": [_member("upper/hard", tarfile.LNKTYPE, "upper/way/kept"), _member("upper/hard")],
    "images by a file of the container": [_member("upper/images", tarfile.SYMTYPE, "/images/final"), _member("upper/images/new")],
    "programs": [_member("usr/bin/new"), _member("upper/usr", tarfile.SYMTYPE, "/usr/bin"), _member("upper/usr/new")],
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("unpacking", ["unpack_files files.tar", "unpack_changed files.tar", "unpack files.tar images"])
def test_an_archive_that_means_harm_changes_nothing_outside_its_folder(tmp_path: Path, harm: str, unpacking: str) -> None:
    destination, out = _End(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("kept")
    (destination.home / "bundle").mkdir()
    (destination.move / "images/final").mkdir(parents=True)
    (destination.upper / "way").symlink_to(out)
    place = str(out)[1:]
    members = [_member(made.name.replace("OUT", place), made.type, made.linkname.replace("OUT", place)) for made in HARM[harm]]
    gone = _member("images/gone")
    _pack(destination.move / "files.tar", gone, *members)
    before = set(Path("/usr/bin").iterdir())
    destination.run(unpacking)
    outside = [path for path in tmp_path.rglob("*") if destination.upper not in path.parents and path.name == "new"]
    assert outside == []
    assert {path.name: path.read_text() for path in out.iterdir()} == {"kept": "kept"}
    assert (out / "kept").stat().st_nlink == 1
    assert set(Path("/usr/bin").iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "device", "fits"),
    [
        (tarfile.CHRTYPE, (0, 0), True), (tarfile.CHRTYPE, (1, 3), True), (tarfile.CHRTYPE, (5, 0), True),
        (tarfile.CHRTYPE, (1, 1), False), (tarfile.CHRTYPE, (10, 200), False), (tarfile.BLKTYPE, (8, 0), False),
        (tarfile.BLKTYPE, (1, 3), False), (tarfile.CHRTYPE, (1, 50), False),
    ],
)  # fmt: skip
def test_devices_come_only_as_every_container_has_them(tmp_path: Path, kind: bytes, device: tuple[int, int], fits: bool) -> None:
    destination = _End(tmp_path)
    _pack(destination.move / "ahead.tar", _member("upper/device", kind, device=device))
    assert (destination.run("unpack_files ahead.tar").returncode == 0) == fits
