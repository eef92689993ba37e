"""The options by which something is seen while it happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.cli.live import filled, wanted
from whimbrel.errors import UsageError
from whimbrel.live.address import Address


@pytest.mark.parametrize(("text", "found"), [
    ("127.0.0.1:80", ("127.0.0.1", 80, True)), (":8080", ("127.0.0.1", 8080, True)), ("[::1]:9", ("::1", 9, True)),
    ("0.0.0.0:9", ("0.0.0.0", 9, False)), ("localhost:9", ("localhost", 9, True)), ("host.example:9", ("host.example", 9, False)),
])  # fmt: skip
def test_addresses_are_read(text: str, found: tuple[str, int, bool]) -> None:
    address = Address.parse(text, "--live")
    assert (address.host, address.port, address.is_local) == found


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:99999", "::1:80", "a b:1", "scenarios/x.yaml"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no ADDRESS:PORT"):
        Address.parse(text, "--live")


@pytest.mark.parametrize(("words", "then"), [
    ("--live file", "--live=127.0.0.1:0 file"),
    ("file --live", "file --live=127.0.0.1:0"),
    ("--live :80 file", "--live :80 file"),
    ("--live=:80 --metrics --json", "--live=:80 --metrics=127.0.0.1:0 --json"),
    ("--out --live x", "--out --live x"),
    ("--json --live x", "--json --live=127.0.0.1:0 x"),
    ("x -- --live", "x -- --live"),
])  # fmt: skip
def test_an_address_may_be_left_out(words: str, then: str) -> None:
    assert filled(words.split(), {"--json"}, interspersed=True) == then.split()


def test_what_follows_a_watched_command_is_the_command_s() -> None:
    words = "--http http://x/ --live virsh migrate --live web"
    assert filled(words.split(), set(), interspersed=False) == words.replace("--live virsh", "--live=127.0.0.1:0 virsh").split()


def test_files_for_node_exporter_are_checked_beforehand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"files that end in .prom"):
        wanted(None, None, tmp_path / "metrics.txt")
    with pytest.raises(UsageError, match="there is no folder"):
        wanted(None, None, tmp_path / "none" / "metrics.prom")
