"""The command line as a user meets it, in processes of their own: what goes where, and how they end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.users import without_root
from whimbrel.cli.explain import explain
from whimbrel.errors import UsageError, WhimbrelError

PROJECT = Path(__file__).parents[3]
RECORDED = PROJECT / "tests" / "recorded" / "campaign"


def whimbrel(*words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whimbrel", *map(str, words)], capture_output=True, text=True, timeout=120, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), **(env or {})},
    )  # fmt: skip


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = whimbrel("--help")
    assert done.returncode == 0
    for word in ("run", "report", "show", "schema", "doctor", "lab", "images", "gc", "Exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "words",
    [("run",), ("run", "absent.yaml"), ("frobnicate",), ("show", "/nowhere"), ("schema", "nothing"), ("show", RECORDED, "99"),
     ("run", PROJECT / "scenarios/paper.yaml", "--dry-run", "--only", "x"),
     ("run", PROJECT / "scenarios/paper.yaml", "--set", "x"),
     ("report", "/nowhere"), ("lab", "exec", "x")],
)  # fmt: skip
def test_bad_usage_is_one_clear_error(words: tuple[str | Path, ...], tmp_path: Path) -> None:
    # What is shown keeps its figures beside the records: not in ours.
    copy = shutil.copytree(RECORDED, tmp_path / "campaign")
    done = whimbrel(*(copy if word == RECORDED else word for word in words))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("whimbrel: ")
    assert "Traceback" not in done.stderr


def test_techniques_are_listed_with_a_reason_for_each_that_cannot_be(tmp_path: Path) -> None:
    # A home without a server tree: of CRIU outside a guest nothing is known yet.
    done = whimbrel("techniques", "--json", env={"WHIMBREL_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    listed = {(each.pop("form"), each.pop("technique"), each.pop("moves")): each for each in json.loads(done.stdout)}
    assert listed["nested", "pre-copy", "container"] == {"possible": True, "reason": None}
    assert listed["nested", "pre-copy", "vm"] == {"possible": True, "reason": None}
    assert listed["vm", "checkpoint", "container"]["possible"] is False
    assert all(each["possible"] == (each["reason"] is None) for each in listed.values())
    assert "not tried" in listed["container", "checkpoint", "container"]["reason"]


def test_a_bad_file_names_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("schema_version: 1\nname: x\nguest: {memry: 1 GiB}\nscenarios: []\n")
    done = whimbrel("run", file)
    assert done.returncode == 2
    assert f"{file}:3: guest.memry:" in done.stderr
    assert "'memory'" in done.stderr


def test_dry_run_prints_the_plan_and_does_nothing(tmp_path: Path) -> None:
    done = whimbrel("run", PROJECT / "scenarios/paper.yaml", "--dry-run", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert len(plan["trials"]) == 21
    assert plan["estimated_s"] > 60
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path_factory.mktemp("cli") / "campaign"))


def test_show_tells_of_a_campaign_and_of_a_trial(campaign: Path) -> None:
    text = whimbrel("show", campaign)
    assert text.returncode == 0
    assert "Scenario 2" in text.stdout
    assert len(json.loads(whimbrel("show", campaign, "--json").stdout)["arms"]) == 3
    one = whimbrel("show", campaign, "1")
    assert "phase stop-and-copy" in one.stdout
    assert json.loads(whimbrel("show", campaign, "1", "--json").stdout)["record"]["schema_version"] == 2


def test_a_narrow_terminal_gets_lines_instead_of_a_table(campaign: Path) -> None:
    done = subprocess.run(
        ["script", "-qec", f"stty cols 20; {shlex.join([sys.executable, '-m', 'whimbrel', 'show', str(campaign)])}", "/dev/null"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "COLUMNS": "20"},
    )  # fmt: skip
    assert "blackout (ms): " in done.stdout


def test_closed_stdout_is_no_error(campaign: Path) -> None:
    words = [sys.executable, "-m", "whimbrel", "show", str(campaign), "1", "--json"]
    done = subprocess.run(
        ["bash", "-c", '"$@" | true; echo ${PIPESTATUS[0]}', "bash", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "0"


def test_a_locale_with_decimal_commas_changes_nothing(campaign: Path) -> None:
    assert (
        whimbrel("show", campaign, env={"LC_ALL": "de_DE.UTF-8"}).stdout == whimbrel("show", campaign, env={"LC_ALL": "C"}).stdout
    )


def test_schemas_are_json() -> None:
    for which in ("scenario", "trial", "figures", "curve"):
        assert "properties" in json.loads(whimbrel("schema", which).stdout)


def test_without_root_a_lab_says_so() -> None:
    words = [*without_root(), sys.executable, "-m", "whimbrel", "lab", "up", str(PROJECT / "scenarios/quick.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT / "src")}, cwd="/")
    assert done.returncode == 3, done.stderr
    assert "needs root" in done.stderr
    assert "Traceback" not in done.stderr


def all_errors(kind: type[WhimbrelError] = WhimbrelError) -> list[type[WhimbrelError]]:
    return [kind, *(error for below in kind.__subclasses__() for error in all_errors(below))]


def test_every_error_and_exit_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    codes = {error.code for error in all_errors() if error.__module__ == "whimbrel.errors"}
    assert len(codes) == len([error for error in all_errors() if error.__module__ == "whimbrel.errors"])
    for code in [*codes, *map(str, {error.exit_code for error in all_errors()}), "0", "125", "130"]:
        explain(code)
        assert len(capsys.readouterr().out) > 4
    with pytest.raises(UsageError, match="no error 'nothing'"):
        explain("nothing")
    explain("cache-mode")
    assert "(source): give its disk cache='none'" in capsys.readouterr().out
    explain()
    assert "unsafe" in capsys.readouterr().out


def test_a_shell_can_complete_commands() -> None:
    script = whimbrel("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert "_WHIMBREL_COMPLETE=complete_bash" in script.stdout, script.stderr
    asked = {"_WHIMBREL_COMPLETE": "complete_bash", "COMP_WORDS": "whimbrel pred", "COMP_CWORD": "1"}
    assert whimbrel(env=asked).stdout.split() == ["predict"]
