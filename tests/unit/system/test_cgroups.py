from __future__ import annotations

from pathlib import Path

from whimbrel.system.cgroups import read_mounts

RECORDED = Path(__file__).parents[2] / "recorded"


def test_version_1_with_each_controller_on_its_own() -> None:
    found = read_mounts((RECORDED / "mountinfo-cgroup-v1.txt").read_text())
    assert not found.unified
    assert found.mounts["memory"] == Path("/sys/fs/cgroup/memory")
    assert found.mounts["cpuset"] == Path("/sys/fs/cgroup/cpuset")
    assert found.core == Path("/sys/fs/cgroup/unified")


def test_version_1_alone_freezes_nothing_as_a_whole() -> None:
    lines = (RECORDED / "mountinfo-cgroup-v1.txt").read_text().splitlines()
    found = read_mounts("\n".join(line for line in lines if " - cgroup2 " not in line))
    assert not found.unified
    assert found.core is None


def test_version_2() -> None:
    line = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
    found = read_mounts(line)
    assert found.unified
    assert set(found.mounts.values()) == {Path("/sys/fs/cgroup")}
    assert found.core == Path("/sys/fs/cgroup")


def test_none_at_all() -> None:
    assert read_mounts("22 1 0:20 / /proc rw shared:1 - proc proc rw\n").mounts == {}
