"""Another way to move than a file's, from the command line."""

from __future__ import annotations

import pytest

from whimbrel.errors import UsageError
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with, parse_override

BASE = MigrationSpec.model_validate({"technique": "pre-copy", "max_downtime": "200 ms", "timeout": "90 s", "auto_converge": True})


def test_options_come_on_top_of_what_the_file_says() -> None:
    found = migration_with(BASE, None, ["max_downtime=100 ms", "max_rounds=3"])
    assert (found.max_downtime_s, found.max_rounds, found.timeout_s, found.auto_converge) == (0.1, 3, 90, True)


def test_another_technique_keeps_the_limits_and_leaves_the_options_of_the_old_one() -> None:
    found = migration_with(BASE, "post-copy", [])
    assert (found.technique, found.timeout_s, found.auto_converge) == ("post-copy", 90, False)
    assert migration_with(BASE, "pre-copy", []) == BASE


@pytest.mark.parametrize(
    ("technique", "sets", "said"),
    [
        (None, ["max_downtime=100"], "max_downtime: 100 has no unit"),
        (None, ["speed=1"], "speed: Extra inputs"),
        (None, ["max_rounds"], "not of the form key=value"),
        (None, ["moves=container"], "decided when it was deployed"),
        ("checkpoint", [], "technique: 'checkpoint' does not move the VM"),
        ("warp", [], "technique"),
        ("cold", ["max_downtime=100 ms"], "max_downtime: has no effect on cold, only on pre-copy, pre-post-copy"),
        ("cold", ["bandwidth=5 MiB/s"], "bandwidth: has no effect on cold"),
        ("post-copy", ["max_rounds=3"], "max_rounds: has no effect on post-copy"),
        (None, ["pre_copy_rounds=3"], "pre_copy_rounds: has no effect on pre-copy, only on pre-post-copy"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(technique: str | None, sets: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        migration_with(BASE, technique, sets)


def test_a_disk_that_moves_along_heeds_rate_and_time_out_where_memory_does_not() -> None:
    found = migration_with(MigrationSpec(storage="full"), "cold", ["bandwidth=5 MiB/s", "timeout=60 s"])
    assert (found.bandwidth_bytes_per_s, found.timeout_s) == (5 * 2**20, 60)


@pytest.mark.parametrize("option", ["max_downtime=100 ms", "pre_copy_rounds=3"])
def test_what_only_qemu_knows_is_refused_for_a_container(option: str) -> None:
    container = MigrationSpec.model_validate({"moves": "container", "technique": "pre-copy"})
    with pytest.raises(UsageError, match="is an option of QEMU"):
        migration_with(container, None, [option])
    assert migration_with(container, None, ["max_rounds=3"]).max_rounds == 3


def test_the_clock_is_a_vms_to_set_and_is_set_whatever_the_technique() -> None:
    asked = MigrationSpec.model_validate({"after": "set-clock"})
    assert migration_with(asked, "post-copy", []).after == "set-clock"
    assert migration_with(BASE, None, ["after=set-clock"]).after == "set-clock"
    assert MigrationSpec().after == "nothing"
    container = MigrationSpec.model_validate({"moves": "container", "technique": "pre-copy"})
    with pytest.raises(UsageError, match="after: sets the clock of a VM: a container has the clock of where it runs"):
        migration_with(container, None, ["after=set-clock"])


def test_a_value_is_read_as_in_a_file() -> None:
    assert parse_override("a.b=[1, 2]", "x=1") == ("a.b", [1, 2])
    with pytest.raises(UsageError, match="malformed YAML"):
        parse_override("a=[1", "x=1")
