"""``whimbrel predict`` as a script would call it, and what it says of bad curves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from whimbrel.cli.predict import predict as command
from whimbrel.errors import SpecError, UsageError
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import predict
from whimbrel.spec.curve import CurveSpec

PUBLISHED = json.loads((Path(__file__).parents[2] / "recorded" / "published-dirty-curve.json").read_text())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(PUBLISHED["curve"], indent=1))
    return path


def test_a_table_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(curve=file, bandwidth=["625MiB/s", "5 Gibit/s", "13107200 B/s"], pause=["250ms", "inf"], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [cell["bandwidth_bytes_per_s"] for cell in found] == [655360000.0] * 2 + [671088640.0] * 2 + [13107200.0] * 2
    assert [cell["pause_limit_ms"] for cell in found] == [250.0, None] * 3
    assert set(found[0]) == {"bandwidth_bytes_per_s", "pause_limit_ms", "converges", "total_s", "rounds", "pause_ms", "bytes"}
    assert [cell["converges"] for cell in found] == [False, True, True, True, False, True]
    assert found[0]["total_s"] is None
    assert found[1]["rounds"] == 1


def test_words_for_people(file: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "whimbrel", "predict", "--curve", file, "--bandwidth", "12.5 MiB/s"],
        capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[3] / "src"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "never" in said.stdout
    assert "a pause of 300 ms needs more than" in said.stdout


def test_a_table_takes_no_time() -> None:
    curve = DirtyCurve(CurveSpec.model_validate(PUBLISHED["curve"]))
    began_s = time.process_time()
    for number in range(48):
        predict(curve, 13107200.0 * 2 ** (number % 8), 0.125 * 2 ** (number // 8))
    once_s = time.process_time() - began_s
    began_s = time.process_time()
    sum(range(10_000_000))
    # As a share of plain counting in the same process, so that a slow machine does not fail it: 50 ms are about a fifth.
    assert once_s < (time.process_time() - began_s) / 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"windows": [{"window_s": 1.0, "dirty_pages": 5.0}]}, "windows: a curve needs at least two windows, not 1"),
        ({"windows": []}, "at least two windows"),
        ({"windows": [{"window_s": 2.0, "dirty_pages": 5.0}, {"window_s": 1.0, "dirty_pages": 6.0}]}, "windows.1.window_s"),
        ({"windows": [{"window_s": 1.0, "dirty_pages": 5.0}, {"window_s": 2.0, "dirty_pages": 4.0}]}, "windows.1.dirty_pages"),
        ({"windows": [{"window_s": 0.0, "dirty_pages": 5.0}, {"window_s": 2.0, "dirty_pages": 6.0}]}, "greater than 0"),
        ({"windows": [{"window_s": 1.0, "dirty_pages": -5.0}, {"window_s": 2.0, "dirty_pages": 6.0}]}, "windows.0.dirty_pages"),
        ({"windows": [{"window_s": 1.0, "dirty_pages": 5.0}, {"window_s": 2.0, "dirty_pages": 1e9}]}, "more dirty pages"),
        ({"pages_zero": 1e9}, "pages_zero: there are more zero pages than pages"),
        ({"pages_zero": -1}, "pages_zero"),
        ({"pages_total": 0}, "pages_total"),
        ({"page_bytes": 0}, "page_bytes"),
        ({"page_bytes": "4 KiB"}, "page_bytes"),
        ({"schema_version": 2}, "schema_version"),
        ({"window": []}, "did you mean 'windows'?"),
    ],
)  # fmt: skip
def test_a_bad_curve_is_named_and_never_a_number(file: Path, change: dict[str, Any], said: str) -> None:
    file.write_text(json.dumps(PUBLISHED["curve"] | change, indent=1))
    with pytest.raises(SpecError, match=r"curve\.json") as caught:
        command(curve=file, bandwidth=["1 GiB/s"])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("[]", "is not an object"), ("{", "malformed JSON"), ('{"pages_total": NaN}', "NaN is no number"),
     ('{"pages_total": Infinity}', "Infinity is no number"),
     ('{"a": 1, "a": 2}', "stands there twice"), ("[" * 5000, "malformed")],
)  # fmt: skip
def test_what_is_no_curve_is_said(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SpecError, match=said):
        command(curve=file, bandwidth=["1 GiB/s"])


@pytest.mark.parametrize(
    ("bandwidth", "pause"),
    [("0 B/s", "1s"), ("-1 B/s", "1s"), ("nan B/s", "1s"), ("1", "1s"),
     ("1 B/s", "0ms"), ("1 B/s", "-1s"), ("1 B/s", "nan"), ("1 B/s", "5")],
)  # fmt: skip
def test_a_bad_option_is_named(file: Path, bandwidth: str, pause: str) -> None:
    with pytest.raises(UsageError, match=r"--(bandwidth|pause): "):
        command(curve=file, bandwidth=[bandwidth], pause=[pause])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "name a GUEST that is deployed, or a file with --curve"),
        ({"guest": "web", "curve": Path("curve.json")}, "name a GUEST that is deployed, or a file with --curve"),
        ({"guest": "web"}, "give --to"),
        ({"guest": "web", "to": "b", "bandwidth": ["1 GiB/s"]}, "neither --bandwidth nor --pause"),
        ({"curve": Path("curve.json")}, "give --bandwidth"),
        ({"curve": Path("curve.json"), "bandwidth": ["1 GiB/s"], "to": "b"}, "neither --to"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        command(**options)
