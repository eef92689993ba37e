from __future__ import annotations

import os
from pathlib import Path

import pytest

from whimbrel.system import cgroups
from whimbrel.system.cgroups import Cgroup, Hierarchies, read_mounts

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


def test_in_version_2_processes_lie_in_a_leaf_and_controllers_reach_those_within(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No process may be in a group that hands controllers down, and a cell's containers need them (cgroup-v2.rst)."""
    where = Hierarchies(True, dict.fromkeys(("cpuacct", "cpuset", "memory"), tmp_path), tmp_path)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: where)
    group = Cgroup("lab/server-a")
    group.create(cpus=[0, 2], memory_bytes=2**30)
    group.make_inner("cell")
    folder = tmp_path / "whimbrel" / "lab" / "server-a"
    assert group.procs_files == [folder / "own" / "cgroup.procs"]
    assert group.inner_procs_files("cell/own") == [folder / "cell" / "own" / "cgroup.procs"]
    handing_down = [path.parent for path in tmp_path.rglob("cgroup.subtree_control")]
    assert sorted(handing_down) == [tmp_path, tmp_path / "whimbrel", folder.parent, folder]
    assert {(path / "cgroup.subtree_control").read_text() for path in handing_down} == {"+cpuset +memory"}
    assert ((folder / "cpuset.cpus").read_text(), (folder / "memory.max").read_text()) == ("0,2", str(2**30))
    assert (folder / "cell").is_dir()


def test_beside_version_1_only_version_2_has_groups_within(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = {name: tmp_path / name for name in ("cpuacct", "cpuset", "memory")}
    monkeypatch.setattr(cgroups, "hierarchies", lambda: Hierarchies(False, mounts, tmp_path / "unified"))
    group = Cgroup("lab/server-a")
    inner = "whimbrel/lab/server-a"
    assert group.inner_procs_files("cell") == [
        *(mount / inner / "cgroup.procs" for mount in mounts.values()), tmp_path / "unified" / inner / "cell" / "cgroup.procs"
    ]  # fmt: skip


def test_processes_of_groups_within_are_the_groups_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where = Hierarchies(True, dict.fromkeys(("cpuacct", "cpuset", "memory"), tmp_path), tmp_path)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: where)
    within = tmp_path / "whimbrel" / "one" / "cell" / "deep"
    within.mkdir(parents=True)
    (within / "cgroup.procs").write_text(f"{os.getpid()}\n")
    group = Cgroup("one")
    assert [process.pid for process in group.processes()] == [os.getpid()]
    assert [process.pid for process in group.inner_processes("cell")] == [os.getpid()]
    assert group.inner_processes("cell-2") == []


@pytest.mark.parametrize(
    ("unified", "stat", "found"),
    [
        (True, "anon 100\nfile 900\nshmem 700\n", (800, 200)),
        (False, "rss 1\ncache 1\ntotal_rss 100\ntotal_cache 900\ntotal_shmem 700\n", (800, 200)),
        # A kernel that does not say it apart.
        (False, "total_rss 100\ntotal_cache 900\n", (100, 900)),
        (True, "", (None, None)),
    ],
)
def test_shared_memory_is_memory_and_not_page_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unified: bool, stat: str, found: tuple[int | None, int | None]
) -> None:
    where = Hierarchies(unified, dict.fromkeys(("cpuacct", "cpuset", "memory"), tmp_path), tmp_path)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: where)
    folder = tmp_path / "whimbrel" / "one"
    folder.mkdir(parents=True)
    (folder / "memory.stat").write_text(stat)
    usage = Cgroup("one").usage()
    assert (usage.memory_bytes, usage.cache_bytes) == found
