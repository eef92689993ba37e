from __future__ import annotations

import subprocess
from importlib.resources import files

import pytest


@pytest.mark.parametrize("script", ["server.sh", "cell.sh", "criu_probe.sh"])
def test_scripts_parse(script: str) -> None:
    text = (files("whimbrel.lab") / script).read_text()
    assert subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True).stderr == ""
