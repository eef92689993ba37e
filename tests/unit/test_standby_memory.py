from pathlib import Path

from whimbrel.system.standby_memory import StandbyMemory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_what_is_held_is_really_taken_and_really_given_back() -> None:
    before = resident_bytes()
    memory = StandbyMemory()
    memory.hold(64 * 2**20)
    assert memory.held_bytes == 64 * 2**20
    memory.hold(8 * 2**20)
    assert memory.held_bytes == 64 * 2**20
    # Where the kernel has no huge pages, only one small page of each is taken.
    assert resident_bytes() >= before + 32 * 4096
    memory.release()
    assert memory.held_bytes == 0
    assert resident_bytes() < before + 8 * 2**20
    memory.release()
