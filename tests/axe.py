"""axe-core, which looks for what keeps people from using a page: taken from npm once, and checked against the hash below."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.browser import Page

VERSION = "4.10.3"
SHA512 = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="


@cache
def axe_core() -> str:
    """Its script; a test is skipped where it cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, from which axe-core comes")
    with TemporaryDirectory() as place:
        command = ["npm", "pack", f"axe-core@{VERSION}", "--prefer-offline", "--silent", "--pack-destination", place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"axe-core cannot be had from npm: {done.stderr.strip()[-200:]}")
        [archive] = Path(place).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        assert found == SHA512, f"axe-core {VERSION} is not what it was: {found}"
        with tarfile.open(archive) as tar:
            member = tar.extractfile("package/axe.min.js")
            assert member is not None
            return member.read().decode()


def serious(page: Page) -> list[str]:
    """What it finds in a page that is serious or worse: the rule, and the first element of each."""
    page.evaluate(axe_core())
    found: dict[str, Any] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then((found) => ({violations: found.violations.map((one) =>"
        " ({id: one.id, impact: one.impact, target: one.nodes[0].html, nodes: one.nodes.length}))}))"
    )
    return [
        f"{one['id']} ({one['impact']}, {one['nodes']} times): {one['target'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
