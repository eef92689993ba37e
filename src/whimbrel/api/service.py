"""A deployed service in a program's hands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from whimbrel.api import moving
from whimbrel.api.holding import Guard, unguarded
from whimbrel.api.moving import Move
from whimbrel.api.scenario import nobody
from whimbrel.deployment.bringing_up import take_down
from whimbrel.deployment.deployed import find, others_beside
from whimbrel.deployment.standing import places_of, where_it_runs
from whimbrel.events import Told
from whimbrel.images.store import ImageStore
from whimbrel.moves.site import ledger_for, site_for
from whimbrel.observe.dirty_profile import Profiled
from whimbrel.predict.expectation import Expectation
from whimbrel.spec.fields import HostName
from whimbrel.spec.service import FormName
from whimbrel.system.root import need_root


@dataclass(frozen=True)
class Service:
    """What is deployed under a name: its form, the address at which it answers in its site's network, and its site's hosts.

    As a context manager it is undeployed at the end of the block.
    """

    name: str
    form: FormName
    address: str
    hosts: tuple[HostName, ...]

    @property
    def host(self) -> HostName:
        """Where it runs now; UsageError when a move was interrupted, UnsafeStateError when nobody can say."""
        deployment = find(self.name)
        with ExitStack() as holding:
            site = site_for(deployment.spec, ImageStore(), ledger_for(deployment.spec), number=deployment.number)
            return where_it_runs(deployment, site, places_of(deployment, site, holding))

    def migrate(
        self,
        to: HostName,
        *,
        technique: str | None = None,
        options: Mapping[str, object] | None = None,
        out: Path | str | None = None,
        told: Told = nobody,
    ) -> Move:
        """Moves it to another host, and measures what that took.

        ``technique`` and ``options`` change what its file says of a move (``migration`` there: ``{"max_downtime": "100 ms"}``).
        With ``out`` the record is kept in that folder, for ``open_results``; ``told`` hears of each step. What made the move fail
        is raised: UnsafeStateError when nobody knows where it runs, MoveError when it runs where it ran before.
        """
        return moving.migrate(self.name, to, technique, options or {}, Path(out) if out is not None else None, told)

    def recover(self, *, boot_anew: bool = False) -> HostName:
        """Brings it to one running copy after a move that was interrupted; the host on which that is.

        ``boot_anew``: when no copy can go on it is started from its disk, without what was in memory. UnsafeStateError when there
        can be no running copy.
        """
        return moving.recover(self.name, boot_anew=boot_anew)

    def profile(
        self, *, seconds: float = 60.0, to: HostName | None = None, told: Callable[[float], None] = lambda over_s: None
    ) -> Profiled:
        """How the VM dirties its memory in windows of up to so many seconds, and what the link to a host gives.

        It goes on meanwhile; ``told`` hears how many seconds are over. UsageError for a container.
        """
        return moving.profile(self.name, seconds=seconds, to=to, told=told)

    def predict(
        self,
        to: HostName,
        *,
        seconds: float = 60.0,
        technique: str | None = None,
        options: Mapping[str, object] | None = None,
        learn_from: Sequence[Path | str] = (),
    ) -> Expectation:
        """Profiles the VM, and says what a move of it would take: each figure with its least and its most.

        ``learn_from`` are folders of results of earlier moves here. UsageError for a way to move that cannot be predicted.
        """
        return moving.predict(self.name, to, technique, options or {}, seconds, [Path(folder) for folder in learn_from])

    def undeploy(self, *, guard: Guard = unguarded) -> None:
        """Ends it, and takes down the lab that was made for it, unless others are deployed there.

        UsageError when it is not deployed any more; CleanUpError, and nothing is forgotten, when it may still run.
        """
        undeploy(self.name, guard=guard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.undeploy()


def undeploy(name: str, *, guard: Guard = unguarded) -> None:
    """Ends what is deployed under this name; see ``Service.undeploy``."""
    need_root("undeploying")
    deployment = find(name)
    with ledger_for(deployment.spec) as ledger, guard(ledger):
        if deployment.made_lab and not others_beside(deployment.spec, name):
            ledger.undo_all()
        else:
            take_down(site_for(deployment.spec, ImageStore(), ledger, number=deployment.number), deployment)
