"""What ``doctor FILE`` prints of hosts by URI, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.raw_libvirt import RawDomain, RawPair
from whimbrel.cli import doctor as command
from whimbrel.engines.binding import libvirt
from whimbrel.hosts.preflight import ways
from whimbrel.system.capabilities import Finding

pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

FILE = """\
schema_version: 1
name: x
hosts:
  a: {libvirt: "qemu+tls://one.example/system", address: 10.0.0.1}
  b: {libvirt: "qemu+tls://two.example/system", address: 10.0.0.2}
  storage: /srv/shared
  guest_address: 10.0.0.100/24
  accelerator: tcg
scenarios: [{name: vm, title: t, form: vm, service: none, arms: [{}]}]
"""
TRIED = [Finding("libvirt of host a", True, True, "libvirt 11.3.0"), Finding("libvirt of host b", True, True, "libvirt 11.3.0")]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RawPair:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ways, "CONNECT_S", 0.05)
    monkeypatch.setattr(command, "examine_hosts", lambda _: list(TRIED))
    found = RawPair()
    found.install(monkeypatch)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "hosts.yaml"
    found.write_text(FILE)
    return found


def as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    code = command.doctor(file, True)
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, found


def test_a_healthy_pair_is_possible(pair: RawPair, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = as_json(file, capsys)
    assert (code, found["possible"], found["findings"]) == (0, True, [])
    assert found["tried"] == [
        {"name": f"libvirt of host {host}", "works": True, "needed": True, "seen": "libvirt 11.3.0"} for host in ("a", "b")
    ]


def test_what_blocks_ends_with_3_and_every_part_is_printed(pair: RawPair, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair.b.files.pop("/sys/class/net/br0/mtu")
    code, found = as_json(file, capsys)
    assert (code, found["possible"]) == (3, False)
    assert found["findings"] == [{
        "code": "bridge-missing", "severity": "blocks", "side": "b", "seen": "there is no link of the name br0",
        "effect": "no guest starts on host b, and none can be moved there",
        "cure": "make the bridge on host b ('ip link add br0 type bridge'), in the guests' network,"
                " or name another: 'hosts.bridge'",
    }]  # fmt: skip
    assert command.doctor(file, False) == 3
    text = capsys.readouterr().out
    assert "ok      libvirt of host a: libvirt 11.3.0" in text
    assert "\nBLOCKS    bridge-missing (b): there is no link of the name br0\n          effect: no guest starts on host b" in text


def test_what_only_warns_or_was_not_seen_does_not_end_badly(
    pair: RawPair, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.b.files["/sys/class/net/br0/mtu"] = "1400\n"
    assert as_json(file, capsys)[0] == 0
    pair.b.files_refused = True
    code, found = as_json(file, capsys)
    assert (code, found["possible"]) == (0, None)


def test_a_host_that_does_not_answer_leaves_the_rest_unseen(
    pair: RawPair, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = [TRIED[0], Finding("libvirt of host b", False, True, "libvirt could not connect")]
    monkeypatch.setattr(command, "examine_hosts", lambda _: list(silent))
    code, found = as_json(file, capsys)
    assert (code, found["possible"]) == (3, False)
    findings = found["findings"]
    assert isinstance(findings, list)
    assert {each["severity"] for each in findings} == {"unseen"}
    assert {each["seen"] for each in findings} == {"libvirt of host b did not answer"}
    assert [pair.a.seen, pair.b.seen] == [[], []]


def test_ctrl_c_while_all_is_removed_waits_for_the_end_of_that(
    pair: RawPair, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    destroy = RawDomain.destroy
    pressed: list[str] = []

    def press(domain: RawDomain) -> None:
        if not pressed:
            pressed.append(domain.name())
            os.kill(os.getpid(), signal.SIGINT)
        destroy(domain)

    monkeypatch.setattr(RawDomain, "destroy", press)
    with pytest.raises(KeyboardInterrupt):
        command.doctor(file, True)
    assert len(pressed) == 1
    assert [host.domains for host in (pair.a, pair.b)] == [{}, {}]
    assert pair.folder == {}
    assert "interrupted: removing what was made" in capfd.readouterr().err
