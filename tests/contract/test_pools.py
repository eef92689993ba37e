"""A folder that two hosts share, through the libvirt of each: the real one, and the one that unit tests have."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.shared_hosts import FakePool
from whimbrel.engines.libvirt import Connection
from whimbrel.engines.libvirt_storage import pool
from whimbrel.errors import EngineError
from whimbrel.lab.lab import Lab

Pools = tuple[Any, Any]


@pytest.fixture(params=["fake", "lab"])
def pools(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Pools]:
    """As host a and as host b see it; another owner has made each pool."""
    if request.param == "fake":
        folder: dict[str, bytes] = {}
        yield FakePool(folder), FakePool(folder)
        return
    with ExitStack() as stack:
        found = []
        for host, owner in ((lab.hosts["a"], "whimbrel-one"), (lab.hosts["b"], "whimbrel-other")):
            connection = stack.enter_context(Connection.open(host.libvirt_uri))
            found.append(stack.enter_context(pool(connection, "/srv/shared", owner)))
        yield found[0], found[1]


@pytest.fixture
def name(pools: Pools) -> Iterator[str]:
    found = f"contract-{uuid.uuid4().hex[:8]}"
    yield found
    pools[0].remove(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "file"
    found.write_bytes(b"first")
    return found


def test_what_one_makes_the_other_reads(pools: Pools, name: str, file: Path, tmp_path: Path) -> None:
    pools[0].put_new(file, name)
    assert name in pools[1].names()
    pools[1].fetch(name, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"first"


def test_what_is_there_is_made_by_nobody_again(pools: Pools, name: str, file: Path, tmp_path: Path) -> None:
    # The second has not looked since: only the file system can tell.
    pools[1].names()
    pools[0].put_new(file, name)
    other = tmp_path / "other"
    other.write_bytes(b"second")
    for here in pools:
        with pytest.raises(EngineError):
            here.put_new(other, name)
        with pytest.raises(EngineError):
            here.make_empty(name)
    pools[1].fetch(name, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"first"


def test_what_is_sent_replaces(pools: Pools, name: str, file: Path, tmp_path: Path) -> None:
    pools[0].put_new(file, name)
    file.write_bytes(b"another")
    pools[1].send(file, name)
    pools[0].fetch(name, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"another"


def test_what_is_not_there_cannot_be_read_and_need_not_be_removed(pools: Pools, name: str, tmp_path: Path) -> None:
    pools[0].remove(name)
    with pytest.raises(EngineError):
        pools[0].fetch(name, tmp_path / "copy")
