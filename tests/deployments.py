"""A service that is put up in the tests' lab, moved beside us, and met in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.labs import quick
from whimbrel.deployment.bringing_up import bring_up, guest_of, take_down
from whimbrel.deployment.deployed import Deployment, one_arm_of
from whimbrel.deployment.moving import Moved, move
from whimbrel.deployment.recovering import bring_back
from whimbrel.engines.domain import Domain
from whimbrel.engines.libvirt import Connection
from whimbrel.events import Bus
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.lab.lab import Lab
from whimbrel.migrate.driven import ask_to_abort
from whimbrel.migrate.journal import History, read_history
from whimbrel.migrate.recovery import Decision
from whimbrel.migrate.verify import find_copies
from whimbrel.moves.notes import Invocation
from whimbrel.spec.fields import HostName
from whimbrel.spec.overrides import migration_with
from whimbrel.system.deadline import Deadline, pause, wait_until


@dataclass
class Deployed:
    """A service that was put up in the tests' lab, on host A."""

    lab: Lab
    deployment: Deployment
    folder: Path
    moves: int = 0
    ended: list[Moved] = field(default_factory=list)

    def move(self, to: HostName, technique: str | None = None, *sets: str) -> Moved:
        self.moves += 1
        migration = migration_with(self.deployment.spec.migration, technique, sets)
        moved = move(self.deployment, self.lab, to, migration, self.folder / str(self.moves), Invocation("test", None), Bus())
        self.ended.append(moved)
        return moved

    def abort(self) -> str:
        return ask_to_abort(self.deployment.name, self.deployment.journal_file, self.deployment.abort_file)

    def begin(self, to: HostName, technique: str | None = None, *sets: str) -> threading.Thread:
        """The same, beside us."""
        thread = threading.Thread(target=self.move, args=(to, technique, *sets), daemon=True)
        thread.start()
        return thread

    def begin_post_copy(self, technique: str = "post-copy", *sets: str) -> threading.Thread:
        """A slow move to B, whose guest runs there already."""
        moving = self.begin("b", technique, "bandwidth=10 MiB/s", *sets)
        self.come_to("post-copy")
        # The order is written down before it is given.
        pause(2)
        return moving

    @contextmanager
    def at_the_source(self, vm: GuestIdentity | None = None) -> Iterator[Domain]:
        """The guest, or what is left of it, as libvirt on A sees it; or another one."""
        with Connection.open(self.lab.hosts["a"].libvirt_uri) as connection:
            guest = connection.find((vm or guest_of(self.deployment, self.lab)).uuid)
            assert guest is not None
            yield guest

    def history(self) -> History:
        found = read_history(self.deployment.journal_file)
        assert found is not None
        return found

    def come_to(self, step: str) -> None:
        """Waits until the journal of the move that was begun has this step."""
        self.wait_for(lambda: self.deployment.journal_file.exists() and self.history().has(step), f"the step {step}")

    def come_to_memory(self) -> None:
        """Waits until memory is sent: what came before it, a disk for one, is over."""
        with self.at_the_source() as guest:
            self.wait_for(lambda: (found := guest.progress()) is not None and bool(found.transferred_bytes), "memory on its way")

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        wait_until(lambda: (True, "") if true() else (None, "not yet"), what, Deadline(120))

    def copies(self) -> list[str]:
        found = find_copies(guest_of(self.deployment, self.lab), [self.lab.hosts["a"], self.lab.hosts["b"]])
        assert found.standing == []
        return found.running

    def copies_standing(self) -> list[str]:
        """Hosts with a copy that stands still, where none runs."""
        found = find_copies(guest_of(self.deployment, self.lab), [self.lab.hosts["a"], self.lab.hosts["b"]])
        assert found.running == []
        return found.standing

    def recover(self, boot_anew: bool = False) -> tuple[str, list[str]]:
        steps: list[Decision] = []
        where = bring_back(self.deployment, self.lab, boot_anew, steps.append)
        return where, [decision.step for decision in steps]


@contextmanager
def put_up(lab: Lab, folder: Path, *overrides: str) -> Iterator[Deployed]:
    """The VM of one viewer, with a witness in it."""
    spec = one_arm_of(quick("observe.witness=true", *overrides).model_copy(update={"lab": lab.spec}), "vm-1")
    deployment = bring_up(lab, spec, "tested", "a", made_lab=False)
    try:
        yield Deployed(lab, deployment, folder)
    finally:
        take_down(lab, deployment)


@pytest.fixture
def deployed(lab: Lab, tmp_path: Path) -> Iterator[Deployed]:
    with put_up(lab, tmp_path) as found:
        yield found
