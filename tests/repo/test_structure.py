"""The house stays as planned: imports go down, names come from the vocabulary, nothing names a machine."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "whimbrel"

# Top to bottom; a module imports from rooms below its own, and within its own.
LAYERS = [
    {"cli"},
    {"api"},
    {"live"},
    {"deployment", "own", "watch"},
    {"campaign", "density", "report"},
    {"trial"},
    {"moves"},
    {"checks"},
    {"migrate", "observe", "stream"},
    {"guests"},
    {"lab"},
    {"hosts"},
    {"images"},
    {"engines"},
    {"system"},
    {"analysis", "predict"},
    {"services"},
    {"events"},
    {"records"},
    {"spec"},
    {"units", "errors", "durable", "plain_text", "trace_parent"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(SOURCE.rglob("*.py"))


def room(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("whimbrel"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "whimbrel" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("whimbrel")}
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_go_down(file: Path) -> None:
    own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in LEVEL, f"{own} has no place in the plan: add it to LAYERS and to docs/architecture.md"
    for name in imported(file):
        other = room(name)
        if other in LEVEL and other != own:
            assert LEVEL[other] > LEVEL[own], f"{file.name} ({own}) imports {name} ({other})"


def test_reports_need_no_engine() -> None:
    for top in ("report", "analysis", "records", "spec"):
        for file in (SOURCE / top).rglob("*.py"):
            assert not {room(name) for name in imported(file)} & {"engines", "lab", "guests", "system", "migrate", "observe"}, (
                file
            )


def test_docstrings_are_sentences() -> None:
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
                assert len(said.split()) > 3, f"{file.relative_to(SOURCE)}:{node.lineno}: {said!r} says too little"


def test_there_is_no_room_without_a_name() -> None:
    for file in MODULES:
        assert file.stem not in ("utils", "util", "helpers", "helper", "common", "misc", "manager"), file


def test_other_programs_are_started_through_one_door() -> None:
    for file in MODULES:
        if file != SOURCE / "system" / "process.py":
            assert "subprocess" not in {name.split(".")[0] for name in _plain_imports(file)}, file


def test_tests_quote_the_interpreter_for_a_shell() -> None:
    """It lies in the tree, whose path may have a space in it."""
    for file in [*(PROJECT / "tests").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FormattedValue):
                assert ast.unparse(node.value) != "sys.executable", f"{file}:{node.lineno}: shlex.quote(sys.executable)"


def test_a_hypervisor_is_a_door() -> None:
    """Whoever is not in ``engines`` knows no connection, domain, event or constant of libvirt's, and no command of QEMU's."""
    opens = []
    for file in MODULES:
        if file.relative_to(SOURCE).parts[0] == "engines":
            continue
        text = file.read_text()
        # Doctor tries whether it is installed.
        if file != SOURCE / "system" / "capabilities.py":
            assert "libvirt" not in {name.split(".")[0] for name in _plain_imports(file)}, file
        assert not re.search(r"\bVIR_[A-Z]+_[A-Z]|libvirtError|\.monitor\(|XMLDesc", _code_of(file)), file
        opens += [file.name] * text.count("hypervisor_at(")
        for name in imported(file):
            assert name != "whimbrel.engines.libvirt", file
    assert len(opens) <= 14, sorted(opens)


def _code_of(file: Path) -> str:
    """Without docstrings and comments."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def _plain_imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_modules_are_small() -> None:
    for file in MODULES:
        assert len(file.read_text().splitlines()) <= 400, file


def tracked() -> list[Path]:
    done = subprocess.run(["git", "-c", f"safe.directory={PROJECT}", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a checkout")
    return [PROJECT / line for line in done.stdout.splitlines() if (PROJECT / line).is_file()]


def test_lock_files_name_no_address() -> None:
    for file in PROJECT.glob("requirements*.lock"):
        text = file.read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_commands_in_the_readme_are_there() -> None:
    text = (PROJECT / "README.md").read_text()
    assert "sudo ./whimbrel run scenarios/paper.yaml" in text
    assert "sudo ./check" in text
    for scenario in re.findall(r"scenarios/[\w-]+\.yaml", text):
        assert (PROJECT / scenario).exists()


def test_what_watch_needs_is_named_with_all_that_it_needs_itself() -> None:
    """``./whimbrel watch`` installs these alone, from requirements.lock."""
    named = (PROJECT / "requirements-watch.txt").read_text().split()
    locked = {line.partition("==")[0] for line in (PROJECT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert set(named) <= locked
    for name in named:
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in named, f"{name} needs {needed.name}"
