"""The layers of an OCI archive become a root file system, whatever they hold, and never touch what lies outside of it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.oci import layer, link, write_archive
from whimbrel.errors import UsageError
from whimbrel.images.unpack import unpack
from whimbrel.services.archive import layers_of


@pytest.fixture(autouse=True)
def as_whoever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root may give no file away."""
    monkeypatch.setattr("os.chown", lambda *_, **__: None)


def unpacked(tmp_path: Path, *layers: bytes, docker: bool = False) -> Path:
    target = tmp_path / "tree"
    target.mkdir()
    file = write_archive(tmp_path / "app.tar", layers, {}, docker=docker)
    with layers_of(file) as found:
        unpack(found, target, file)
    return target


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_layers_lie_over_one_another(tmp_path: Path, docker: bool, packed: bool) -> None:
    below = layer(("etc/", b""), ("etc/name", b"old"), ("etc/other", b"kept"), packed=packed)
    tree = unpacked(tmp_path, below, layer(("etc/name", b"new"), packed=packed), docker=docker)
    assert ((tree / "etc/name").read_text(), (tree / "etc/other").read_text()) == ("new", "kept")
    # What every service may take for granted.
    assert (tree / "dev/shm").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "proc").is_dir()


def test_what_a_layer_removes_is_gone(tmp_path: Path) -> None:
    below = layer(("a/one", b"1"), ("a/two", b"2"), ("b/deep/one", b"1"), ("b/two", b"2"))
    above = layer(("a/.wh.one", b""), ("b/deep/new", b"n"), ("b/.wh..wh..opq", b""), ("b/three", b"3"))
    tree = unpacked(tmp_path, below, above)
    assert sorted(path.name for path in (tree / "a").iterdir()) == ["two"]
    assert sorted(str(path.relative_to(tree)) for path in (tree / "b").rglob("*")) == ["b/deep", "b/deep/new", "b/three"]


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    """One layer has a link, the next one writes through it: as in the image, and so within it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    below = layer(
        link("absolute", str(outside)), link("up", "../outside"), link("around", "absolute"), ("run/", b""), link("var", "/run"),
    )  # fmt: skip
    above = layer(
        ("absolute/secret", b"a"), ("up/secret", b"u"), ("around/more", b"m"), ("../outside/secret", b"p"), ("var/pid", b"1"),
        ("absolute/.wh.other", b""),
    )  # fmt: skip
    tree = unpacked(tmp_path, below, above)
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "untouched"
    assert (tree / "run/pid").read_text() == "1"
    assert (tree / str(outside).lstrip("/") / "secret").read_text() == "a"


def test_a_hard_link_to_what_lies_outside_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("untouched")
    with pytest.raises(UsageError, match=r"stolen cannot be unpacked"):
        unpacked(tmp_path, layer(link("stolen", "../secret", hard=True)))


def test_a_link_within_it_is_one(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, layer(("bin/tool", b"x"), link("bin/same", "bin/tool", hard=True), link("bin/sh", "tool")))
    assert (tree / "bin/same").stat().st_ino == (tree / "bin/tool").stat().st_ino
    assert (tree / "bin/sh").readlink() == Path("tool")


def test_links_that_go_round_and_round_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too many links"):
        unpacked(tmp_path, layer(link("a", "b"), link("b", "a"), ("a/file", b"")))


def test_modes_are_kept(tmp_path: Path) -> None:
    info = tarfile.TarInfo("su")
    info.mode = 0o4755
    assert (unpacked(tmp_path, layer(info)) / "su").stat().st_mode & 0o7777 == 0o4755


def test_a_file_in_place_of_a_folder_and_the_other_way_round(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, layer(("a/x", b""), ("b", b"")), layer(("a", b"file"), ("b/", b""), ("b/y", b"")))
    assert (tree / "a").read_text() == "file"
    assert (tree / "b/y").exists()


def test_zstd_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="packed with zstd"):
        unpacked(tmp_path, b"\x28\xb5\x2f\xfd and more")


def test_a_layer_that_is_cut_off_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no OCI image"):
        unpacked(tmp_path, layer(("a", b"x" * 5000))[:900])
