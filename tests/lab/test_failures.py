"""Known failures of moves, provoked with real libvirt and real QEMU: each is told from the others by what these say today."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.provocations import PROVOCATIONS, provoke
from tests.scene import Scene, scene_in_a_lab
from whimbrel.engines.failures import diagnose
from whimbrel.errors import EngineError, SilentError

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene_in_a_lab(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.mark.parametrize("name", PROVOCATIONS)
def test_a_known_failure_is_told(scene: Scene, name: str) -> None:
    said = provoke(scene, name)
    error = (SilentError if said.silent else EngineError)(
        "", details=said.words, number=said.number, part=said.origin, errno=said.errno
    )
    found = diagnose(error, said.words if said.number is None else said.log)
    assert found is not None, said
    assert found.name == said.failure, said
