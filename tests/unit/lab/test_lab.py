from __future__ import annotations

import pytest

from whimbrel.hosts.site import DiskFacts
from whimbrel.lab.lab import default_cpus
from whimbrel.lab.own_disk import disk_facts


@pytest.mark.parametrize(
    ("servers", "machine", "expected"),
    [
        (2, [0, 1], [(0,), (1,)]),
        (2, [3], [(3,), (3,)]),
        (2, [0, 1, 2, 3, 4], [(0, 1), (2, 3, 4)]),
        (3, [0, 1], [(0,), (1,), (0,)]),
        (3, [0, 1, 2, 3, 5, 6, 7, 8], [(0, 1), (2, 3, 5), (6, 7, 8)]),
    ],
)
def test_servers_get_equal_parts(servers: int, machine: list[int], expected: list[tuple[int, ...]]) -> None:
    assert default_cpus(servers, machine) == expected


def test_what_qemu_img_says_of_a_disk() -> None:
    # QAPI's ImageInfo, as qemu-img prints it of an overlay.
    said = """{
        "children": [{"name": "file", "info": {"virtual-size": 197120, "format": "file", "actual-size": 200704}}],
        "backing-filename-format": "raw", "virtual-size": 3221225472, "filename": "/srv/own/guest.qcow2",
        "cluster-size": 65536, "format": "qcow2", "actual-size": 200704, "full-backing-filename": "/srv/images/disk.raw",
        "backing-filename": "/srv/images/disk.raw", "dirty-flag": false
    }"""
    assert disk_facts(said) == DiskFacts(3 * 2**30, 200704, "/srv/images/disk.raw", "raw")
    assert disk_facts('{"virtual-size": 512, "actual-size": 512}') == DiskFacts(512, 512, None, None)
