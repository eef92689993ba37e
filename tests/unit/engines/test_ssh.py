"""ssh never waits for somebody to type."""

from __future__ import annotations

import pytest

from whimbrel.engines.libvirt import without_asking


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("qemu+ssh://one/system", "qemu+ssh://one/system?no_tty=1"),
        ("qemu+ssh://one/system?keyfile=/k", "qemu+ssh://one/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://one/system?no_tty=0", "qemu+ssh://one/system?no_tty=0"),
        ("qemu+tls://one/system", "qemu+tls://one/system"),
    ],
)
def test_ssh_is_told_that_nobody_answers(uri: str, opened: str) -> None:
    assert without_asking(uri) == opened
