"""Which CPUs each server gets, on machines of many kinds: their sysfs as the kernel writes it (cputopology.rst)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from whimbrel.cli import doctor
from whimbrel.lab.cpu_split import describe, split, split_as_asked
from whimbrel.system.capabilities import Finding
from whimbrel.system.topology import Core, cores_of, read_list, write_list


class Machine:
    """A tree like /sys/devices, of cores that are added one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cpus: list[int] = []

    def core(self, *cpus: int, package: int = 0, cache: str = "", **files: int) -> None:
        self.cpus += cpus
        for cpu in cpus:
            folder = self.folder / "system" / "cpu" / f"cpu{cpu}"
            (folder / "topology").mkdir(parents=True)
            (folder / "topology" / "thread_siblings_list").write_text(f"{write_list(cpus)}\n")
            (folder / "topology" / "physical_package_id").write_text(f"{package}\n")
            (folder / "topology" / "die_id").write_text("0\n")
            if cache:
                (folder / "cache" / "index3").mkdir(parents=True)
                (folder / "cache" / "index3" / "shared_cpu_list").write_text(f"{cache}\n")
            for name, figure in files.items():
                file = folder / ("cpufreq/cpuinfo_max_freq" if name == "max_freq" else name)
                file.parent.mkdir(exist_ok=True)
                file.write_text(f"{figure}\n")

    def counters(self, kind: str, cpus: str) -> None:
        (self.folder / f"cpu_{kind}").mkdir(parents=True)
        (self.folder / f"cpu_{kind}" / "cpus").write_text(f"{cpus}\n")

    def split(self, cpus: Sequence[int] = ()) -> tuple[str, str, str]:
        cores = cores_of(sorted(cpus or self.cpus), self.folder)
        halves = split(cores, "ab")
        return write_list(halves["a"]), write_list(halves["b"]), describe(halves, cores)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_siblings_i_and_i_plus_8_stay_together(machine: Machine) -> None:
    for core in range(8):
        machine.core(core, core + 8, max_freq=3_600_000)
    # Halves of the numbers would give each server one thread of every core.
    assert machine.split() == ("0-3,8-11", "4-7,12-15", "whole cores, alike: 4 cores of 2 threads each")


def test_siblings_next_to_each_other(machine: Machine) -> None:
    for core in range(4):
        machine.core(2 * core, 2 * core + 1)
    assert machine.split() == ("0-3", "4-7", "whole cores, alike: 2 cores of 2 threads each")


def test_a_laptop_with_cores_of_two_kinds(machine: Machine) -> None:
    """2 of the fast kind with two threads each, 8 of the slow: as Intel's i5-1235U numbers them."""
    for core in range(2):
        machine.core(2 * core, 2 * core + 1, max_freq=4_400_000)
    for cpu in range(4, 12):
        machine.core(cpu, max_freq=3_300_000)
    machine.counters("core", "0-3")
    machine.counters("atom", "4-11")
    said = "whole cores, alike: 4 cores (atom) and 1 core of 2 threads (core) each"
    assert machine.split() == ("0-1,4-7", "2-3,8-11", said)


def test_an_odd_core_of_a_kind_is_left_to_the_viewers(machine: Machine) -> None:
    """3 fast and 4 slow, all with one thread, told apart by frequency alone; one of the fast is a little faster still."""
    for cpu, frequency in enumerate([5_000_000, 5_200_000, 5_000_000, 3_800_000, 3_800_000, 3_800_000, 3_800_000]):
        machine.core(cpu, max_freq=frequency)
    said = "whole cores, alike: 2 cores (up to 3.8 GHz) and 1 core (up to 5.2 GHz) each; core 2 left to viewers and instruments"
    assert machine.split() == ("0,3-4", "1,5-6", said)


def test_cores_that_the_kernel_tells_apart_by_capacity(machine: Machine) -> None:
    for cpu in range(4):
        machine.core(cpu, cpu_capacity=446 if cpu < 2 else 1024, max_freq=2_000_000)
    assert machine.split() == ("0,2", "1,3", "whole cores, alike: 1 core (capacity 1024) and 1 core (capacity 446) each")


def test_small_differences_make_no_kinds(machine: Machine) -> None:
    """Cores that are picked to go faster than others of their kind."""
    for cpu, frequency in enumerate([5_700_000, 5_600_000, 5_450_000, 5_300_000]):
        machine.core(cpu, cpu_capacity=1024, max_freq=frequency)
    assert machine.split() == ("0-1", "2-3", "whole cores, alike: 2 cores each")


def test_two_sockets_with_threads_are_a_server_each(machine: Machine) -> None:
    """EPYC: 2 sockets of 8 cores in two complexes; Linux numbers first threads first, across sockets."""
    for core in range(16):
        package = core // 8
        complex_ = core // 4 * 4
        machine.core(core, core + 16, package=package, cache=f"{complex_}-{complex_ + 3},{complex_ + 16}-{complex_ + 19}")
    assert machine.split() == ("0-7,16-23", "8-15,24-31", "whole cores, alike: 8 cores of 2 threads each")


def test_sockets_whose_cpus_alternate(machine: Machine) -> None:
    for cpu in range(8):
        machine.core(cpu, package=cpu % 2)
    assert machine.split()[:2] == ("0,2,4,6", "1,3,5,7")


def test_two_cpus(machine: Machine) -> None:
    machine.core(0)
    machine.core(1)
    assert machine.split() == ("0", "1", "whole cores, alike: 1 core each")


def test_one_core_of_two_threads(machine: Machine) -> None:
    machine.core(0, 1)
    assert machine.split() == ("0", "1", "a and b share core 0-1, with a thread for each: each slows the other")


def test_one_cpu(machine: Machine) -> None:
    machine.core(3)
    assert machine.split() == ("3", "3", "a and b share CPU 3: each slows the other")


def test_one_core_of_each_kind(machine: Machine) -> None:
    machine.core(0, max_freq=3_000_000)
    machine.core(1, max_freq=1_800_000)
    said = "whole cores, but unlike ones: a has 1 core (up to 3.0 GHz), b has 1 core (up to 1.8 GHz)"
    assert machine.split() == ("0", "1", said)


def test_five_cores_leave_one(machine: Machine) -> None:
    for cpu in range(5):
        machine.core(cpu)
    assert machine.split() == ("0-1", "2-3", "whole cores, alike: 2 cores each; core 4 left to viewers and instruments")


def test_cpus_that_are_offline_are_no_threads(machine: Machine) -> None:
    """With threads switched off the kernel names online siblings only, and the folders of others have no topology."""
    for cpu in range(4):
        machine.core(cpu)
        (machine.folder / "system" / "cpu" / f"cpu{cpu + 4}").mkdir()
    assert machine.split() == ("0-1", "2-3", "whole cores, alike: 2 cores each")


def test_of_a_machine_of_which_part_may_be_used(machine: Machine) -> None:
    """A container's cpuset: both threads of cores 2 and 3, one thread of 4 and of 5, nothing of the others."""
    for core in range(8):
        machine.core(core, core + 8)
    said = "whole cores, alike: 1 core and 1 core of 2 threads each"
    assert machine.split([2, 3, 4, 5, 10, 11]) == ("2,4,10", "3,5,11", said)


def test_a_kernel_that_says_nothing_of_its_cores(tmp_path: Path) -> None:
    cores = cores_of([0, 1, 2, 3], tmp_path)
    assert [core.cpus for core in cores] == [(0,), (1,), (2,), (3,)]
    assert split(cores, "ab") == {"a": (0, 1), "b": (2, 3)}


@pytest.mark.parametrize(
    ("cores", "works", "said"),
    [
        ([Core((0, 2)), Core((1, 3))], True, "a gets 0,2, b gets 1,3; whole cores, alike: 1 core of 2 threads each"),
        ([Core((0, 1))], False, "a gets 0, b gets 1; a and b share core 0-1, with a thread for each: each slows the other"),
    ],
)
def test_doctor_says_how_servers_would_stand(monkeypatch: pytest.MonkeyPatch, cores: list[Core], works: bool, said: str) -> None:
    monkeypatch.setattr(doctor, "cores_of", lambda _: cores)
    assert doctor.processors_of_two_servers() == Finding("processors for two servers", works, False, said)


CORES = [Core((0, 4)), Core((1, 5)), Core((2, 6)), Core((3, 7))]


@pytest.mark.parametrize(
    ("a", "b", "found", "said"),
    [
        (None, None, ((0, 1, 4, 5), (2, 3, 6, 7)), "whole cores, alike: 2 cores of 2 threads each"),
        ((2, 6), None, ((2, 6), (0, 1, 3, 4, 5, 7)), "unlike ones: a has 1 core of 2 threads, b has 3 cores of 2 threads"),
        (None, (0,), ((1, 2, 3, 5, 6, 7), (0,)), "unlike ones: a has 3 cores of 2 threads, b has 1 core"),
        ((0, 1, 2, 3), (4, 5, 6, 7), ((0, 1, 2, 3), (4, 5, 6, 7)), "share cores 0,4; 1,5; 2,6; 3,7"),
        ((0, 4), (4, 5), ((0, 4), (4, 5)), "share CPU 4"),
        ((0, 1, 2, 3), None, ((0, 1, 2, 3), (2, 3, 6, 7)), "share CPU 2-3"),
    ],
)
def test_what_a_file_asks_for_is_given_and_said(
    a: tuple[int, ...] | None, b: tuple[int, ...] | None, found: tuple[tuple[int, ...], tuple[int, ...]], said: str
) -> None:
    halves = split_as_asked(CORES, {"a": a, "b": b})
    assert (halves["a"], halves["b"]) == found
    assert said in describe(halves, CORES)


@pytest.mark.parametrize(
    ("cores", "servers", "found", "said"),
    [
        ([(0, 4), (1, 5), (2, 6), (3, 7)], 3, [(0, 4), (1, 5), (2, 6)], "1 core of 2 threads each; core 3,7 left to viewers"),
        ([(0,), (1,)], 3, [(0,), (1,), (0,)], "a and c share CPU 0"),
        ([(0, 1), (2, 3)], 3, [(0,), (1,), (2,)], "a and b share core 0-1"),
        ([(number,) for number in range(8)], 3, [(0, 1), (2, 3), (4, 5)], "alike: 2 cores each; cores 6; 7 left"),
    ],
)
def test_several_servers_get_equal_parts(
    cores: list[tuple[int, ...]], servers: int, found: list[tuple[int, ...]], said: str
) -> None:
    machine = [Core(cpus) for cpus in cores]
    parts = split(machine, "abcdefgh"[:servers])
    assert list(parts.values()) == found
    assert said in describe(parts, machine)


def test_of_several_servers_those_without_cpus_share_what_is_left() -> None:
    parts = split_as_asked(CORES, {"north": None, "east": (0, 4), "west": None})
    assert parts == {"north": (1, 5), "east": (0, 4), "west": (2, 6)}


def test_lists_as_the_kernel_writes_them() -> None:
    assert read_list("0-3,8,10-11\n") == {0, 1, 2, 3, 8, 10, 11}
    assert read_list("\n") == set()
    assert write_list({11, 0, 1, 2, 3, 8, 10}) == "0-3,8,10-11"
