"""docs/vocabulary.md is kept: what it says not to say is said nowhere, and one public name means one thing in its room."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "whimbrel"
VOCABULARY = PROJECT / "docs" / "vocabulary.md"

# Words of the column "not" that also mean something else, and what: these cannot be told apart here.
ALSO = {
    "target": "libvirt's, HTTP's and the linker's", "machine": "the computer that all runs on", "type": "Python's",
    "mode": "a file's", "instance": "'for instance'", "test": "pytest's", "run (noun)": "the command", "parameter": "QEMU's",
    "live/non-live": "a live stream", "outage": "a service's", "downtime": "QEMU's and libvirt's", "lag": "the guest clock's",
    "freeze": "a container's", "loop": "an event loop's", "round": "pre-copy's", "drift": "a machine's, over a campaign",
    "snapshot": "what libvirt calls one", "probe": "the instrument", "request": "HTTP's", "batch": "a queue's",
    "application": "RTMP's, and a book's title", "workload": "what a benchmark calls one", "node": "the kernel's and QEMU's",
}  # fmt: skip


def forbidden() -> list[str]:
    """Every word of the column "not"."""
    rows = [line.strip().strip("|").split("|") for line in VOCABULARY.read_text().splitlines() if line.startswith("|")]
    return sorted({word.strip() for row in rows[2:] for word in row[2].split(",") if word.strip()})


def said(file: Path) -> Iterator[tuple[int, str]]:
    """Docstrings and comments, by line."""
    text = file.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (words := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), words


def names(file: Path) -> Iterator[tuple[int, str]]:
    """What the module calls its own things, as words."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name.replace("_", " ")
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg.replace("_", " ")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.replace("_", " ")


@pytest.mark.parametrize("word", [word for word in forbidden() if word not in ALSO])
def test_what_is_not_to_be_said_is_not_said(word: str) -> None:
    pattern = re.compile(rf"\b{re.escape(word)}s?\b", re.IGNORECASE)
    found = [
        f"{file.relative_to(PROJECT)}:{line}: {words}"
        for file in sorted(SOURCE.rglob("*.py"))
        for line, words in [*said(file), *names(file)]
        if pattern.search(words)
    ]
    for page in [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]:
        if page != VOCABULARY:
            lines = enumerate(page.read_text().splitlines(), 1)
            found += [f"{page.relative_to(PROJECT)}:{line}: {words}" for line, words in lines if pattern.search(words)]
    assert found == []


# Rooms in which a guest's description, which libvirt calls a domain, is made or taken apart.
OF_DOMAINS = {"engines", "guests/domain_xml.py", "hosts/preflight/guests.py"}
# And the key by which a file names a guest of the user's own, who calls it so.
OF_DOMAINS |= {"spec/campaign.py", "spec/hosts.py", "spec/own_guest.py", "spec/service.py"}
# And charts, where a scale has one.
OF_DOMAINS |= {"report/evidence_charts.py"}


def test_a_guest_is_called_a_domain_in_engines_only() -> None:
    found = set()
    for file in sorted(SOURCE.rglob("*.py")):
        path = str(file.relative_to(SOURCE))
        words = " ".join(words for _, words in [*said(file), *names(file)])
        if not OF_DOMAINS & {path, path.split("/")[0]} and re.search(r"\bdomains?\b", words):
            found.add(path)
    assert not found, sorted(found)


def test_a_place_is_where_a_copy_may_be() -> None:
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        is_said = any(re.search(r"\bplaces?\b", words) for _, words in names(file))
        if file.stem.startswith("place") or (is_said and not re.search(r"\bPlace\b|\.places\b", file.read_text())):
            found.append(str(file.relative_to(SOURCE)))
    assert found == []


def test_a_public_name_means_one_thing_in_its_room() -> None:
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for file in sorted(SOURCE.rglob("*.py")):
        room = file.relative_to(SOURCE).parts[0]
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[room, node.name] += 1
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    # Types, that is.
                    if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z]\w*[a-z]\w*", target.id):
                        found[room, target.id] += 1
    assert [f"{room}: {name}" for (room, name), count in sorted(found.items()) if count > 1] == []
