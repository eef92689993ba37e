"""Where a tree's packages come from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from whimbrel.images.build import suite_options

ONE_LINE = "deb http://packages.test/debian trixie main\ndeb http://packages.test/debian trixie-updates main\n"
STANZAS = "Types: deb\nURIs: http://packages.test/debian\nSuites: trixie trixie-updates\nComponents: main\n"


def hook(root: Path) -> subprocess.CompletedProcess[str]:
    [option, suite] = suite_options("trixie-backports")
    assert suite == "trixie"
    script = option.removeprefix("--setup-hook=")
    # As mmdebstrap(1) says that it runs one.
    return subprocess.run(["sh", "-c", script, "exec", root], capture_output=True, text=True)


def apt_folder(root: Path) -> Path:
    for name in ("sources.list.d", "preferences.d"):
        (root / "etc" / "apt" / name).mkdir(parents=True)
    return root / "etc" / "apt"


def test_a_suite_of_its_own_is_asked_for_as_it_is() -> None:
    assert suite_options("trixie") == ["trixie"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sources.list", ONE_LINE, ONE_LINE + "deb http://packages.test/debian trixie-backports main\n"),
        ("sources.list.d/debian.sources", STANZAS, STANZAS.replace("trixie-updates", "trixie-updates trixie-backports")),
    ],
)
def test_backports_lie_where_updates_do(tmp_path: Path, name: str, text: str, expected: str) -> None:
    apt = apt_folder(tmp_path)
    (apt / name).write_text(text)
    assert hook(tmp_path).returncode == 0
    assert (apt / name).read_text() == expected
    assert "n=trixie-backports" in (apt / "preferences.d" / "backports").read_text()


def test_a_tree_without_the_backports_that_were_asked_for_is_not_made(tmp_path: Path) -> None:
    apt = apt_folder(tmp_path)
    (apt / "sources.list").write_text("deb http://packages.test/debian trixie main\n")
    done = hook(tmp_path)
    assert done.returncode != 0
    assert "no trixie-updates" in done.stderr
