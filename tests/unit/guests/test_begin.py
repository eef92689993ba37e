"""The program that starts a user's own service in whatever image: what it is made of is in images/programs/begin.c."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no compiler")


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("begin") / "begin"
    source = files("whimbrel.images") / "programs" / "begin.c"
    subprocess.run(["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, str(source)], check=True)
    program.parent.chmod(0o755)
    return program


def said(begin: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run([begin, *words], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def test_it_becomes_the_command_in_its_folder_and_with_its_variables_alone(begin: Path) -> None:
    code, out, _ = said(
        begin, "-d", "/usr", "-e", "PATH=/usr/bin:/bin", "-e", "NAME=a b", "--", "sh", "-c", 'echo "$NAME"; pwd; env'
    )
    lines = out.splitlines()
    assert (code, lines[:2]) == (0, ["a b", "/usr"])
    assert {line.partition("=")[0] for line in lines[2:]} <= {"PATH", "NAME", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.skipif(not ROOT, reason="only root becomes another user")
def test_it_becomes_a_user_by_name_or_by_number(begin: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    ids = 'echo "$(id -u) $(id -g) $(id -G)"'
    for user, found in (
        ("nobody", f"{nobody.pw_uid} {nobody.pw_gid}"), (str(nobody.pw_uid), f"{nobody.pw_uid} {nobody.pw_gid}"),
        ("4242:77", "4242 77"), ("nobody:daemon", f"{nobody.pw_uid} 1"), ("4242", "4242 0"),
    ):  # fmt: skip
        _, out, _ = said(begin, "-u", user, "-e", "PATH=/usr/bin:/bin", "--", "sh", "-c", ids)
        assert out.startswith(f"{found} "), (user, out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-u", "nosuchuser", "--", "true"], "the user nosuchuser: there is none"),
        (["-d", "/nowhere", "--", "true"], "the folder /nowhere: No such file"),
        (["--", "/nowhere/program"], "starting /nowhere/program: No such file"),
        ([], "the command that is to run: there is none"),
    ],
)
def test_what_cannot_be_is_said(begin: Path, words: list[str], says: str) -> None:
    code, _, err = said(begin, *words)
    assert code == 127
    assert says in err


def test_another_program_starts_beside_it(begin: Path, tmp_path: Path) -> None:
    command = ["-b", f"/usr/bin/touch {tmp_path}/beside", "-e", "PATH=/usr/bin:/bin", "--", "sh", "-c", "sleep 0.3; echo it"]
    assert said(begin, *command)[:2] == (0, "it\n")
    assert (tmp_path / "beside").exists()
