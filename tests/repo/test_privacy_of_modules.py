"""Tests know of whimbrel what its other modules may know: no name that begins with an underscore."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# What is still to go, as file and number of uses. Only ever make it shorter.
LEFT: dict[str, int] = {}


def uses(tree: ast.Module) -> Iterator[str]:
    """Names of others that begin with one underscore: imported, read as an attribute, or patched by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names = [] if own or ast.unparse(node) == "os._exit" else [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            patches = called in ("setattr", "setitem", "delattr", "getattr", "patch")
            given = [each.value for each in node.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            names = [text.rpartition(".")[2] for text in given] if patches else []
        else:
            names = []
        yield from (name for name in names if re.match(r"_[^_]", name))


def test_tests_use_no_private_names() -> None:
    found: Counter[str] = Counter()
    for file in sorted((PROJECT / "tests").rglob("*.py")) + sorted((PROJECT / "benchmarks").rglob("*.py")):
        tree = ast.parse(file.read_text())
        # A test's own helpers are its own.
        own = {name for node in ast.walk(tree) for name in _defined(node)}
        found[str(file.relative_to(PROJECT))] += sum(name not in own for name in uses(tree))
    assert {file: count for file, count in found.items() if count > LEFT.get(file, 0)} == {}


def _defined(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
        return [node.attr] if node.value.id == "self" else []
    return []


def test_no_class_is_made_without_its_own_making() -> None:
    """``__new__`` alone gives an object that nothing in whimbrel ever meets."""
    for file in sorted((PROJECT / "tests").rglob("*.py")):
        if str(file.relative_to(PROJECT)) in LEFT:
            continue
        attributes = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert "__new__" not in attributes, file
