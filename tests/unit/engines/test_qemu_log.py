"""What QEMU's log says of the last start, and of no earlier one."""

from __future__ import annotations

from whimbrel.engines.qemu_log import words_since

# Of QEMU 10.0.13 under libvirt 11.3.0, but for most of the command line.
LOG = """\
2026-11-29 09:02:10.101+0000: starting up libvirt version: 11.3.0, package: 11.3.0-3+deb13u1, qemu version: 10.0.13
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-name guest=mover,debug-threads=on \\
-msg timestamp=on
2026-11-29T09:02:10.927561Z qemu-system-x86_64: an older word
2026-11-29 09:02:11.000+0000: shutting down, reason=failed
2026-11-29 09:02:17.700+0000: starting up libvirt version: 11.3.0, package: 11.3.0-3+deb13u1, qemu version: 10.0.13
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-msg timestamp=on
2026-11-29T09:02:17.973786Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory
2026-11-29 09:02:18.074+0000: shutting down, reason=failed
"""
STARTED_S = 1795942937.7


def test_the_last_start_is_quoted_without_its_command_line() -> None:
    assert words_since(LOG, STARTED_S - 1) == (
        "2026-11-29T09:02:17.973786Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n"
        "2026-11-29 09:02:18.074+0000: shutting down, reason=failed"
    )


def test_an_older_start_is_not() -> None:
    assert words_since(LOG, STARTED_S + 1) == ""
    assert words_since("", 0) == ""


def test_of_a_long_one_the_end_is_quoted() -> None:
    lines = "".join(f"line {number}\n" for number in range(40))
    assert words_since(LOG + lines, 0).splitlines() == [f"line {number}" for number in range(25, 40)]


def test_a_start_that_says_nothing_yet() -> None:
    assert words_since(LOG[: LOG.rindex("-msg")], 0) == ""
