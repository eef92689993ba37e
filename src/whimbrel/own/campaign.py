"""A campaign on a guest of the user's own: it moves there and back between the first two hosts of a file, and stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.events import PLANNED, TRIAL_BEGUN, Bus, planned
from whimbrel.moves.notes import Invocation
from whimbrel.own.guest import find_guest
from whimbrel.own.moving import Asked, OwnMoved, move_own
from whimbrel.own.record import Kept
from whimbrel.own.standing import Side, vcpus_in
from whimbrel.own.watching import NO_CHECKS, Checks
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import RemoteHostSpec

# What is moved only so that a trial can begin where it is to, or that all ends where it began.
Purpose = Literal["to where the next trial begins", "back to where it was"]


def sides_of_file(spec: CampaignSpec) -> tuple[Side, Side]:
    """The hosts that it moves between."""
    assert spec.hosts is not None
    first, second = list(spec.hosts.servers.items())[:2]
    return _side(*first), _side(*second)


def _side(name: HostName, host: RemoteHostSpec) -> Side:
    return Side(
        name=name, uri=host.libvirt, address=host.address, peer_uri=host.peer_libvirt, certificate_name=host.certificate_name
    )


def as_found(spec: CampaignSpec) -> CampaignSpec:
    """The campaign, with the guest's own memory and processors; UsageError when no host of the file runs it."""
    assert spec.guest.domain is not None
    for side in sides_of_file(spec):
        with side.host.hypervisor() as host:
            guest = find_guest(host, spec.guest.domain)
            if guest is not None and guest.active:
                known = {"memory_bytes": guest.memory_bytes, "vcpus": vcpus_in(guest.description)}
                return spec.model_copy(update={"guest": spec.guest.model_copy(update=known)})
    names = " and ".join(side.name for side in sides_of_file(spec))
    raise UsageError(f"{spec.guest.domain} runs on none of the hosts {names}", resolution="start it on one of them")


def checks_of(spec: CampaignSpec) -> Checks:
    """What is asked while it moves."""
    service = spec.service
    return Checks(service.checks, before_s=service.before_s, after_s=service.after_s) if service is not None else NO_CHECKS


class OwnCampaign:
    """Makes the trials that ``folder`` plans and does not hold yet. ``bus`` is told how it goes.

    With ``keep_on_failure`` the first failure is the last trial, and the guest stays where it is then. ``take_over``: also where
    somebody who has crashed has claimed it.
    """

    def __init__(
        self, folder: CampaignFolder, invocation: Invocation, bus: Bus, keep_on_failure: bool = False, take_over: bool = False
    ) -> None:
        self._spec, self._folder, self._invocation, self._bus = folder.spec, folder, invocation, bus
        self._keep_on_failure, self._take_over = keep_on_failure, take_over
        self._sides = {side.name: side for side in sides_of_file(folder.spec)}

    def run(self) -> None:
        """All of them, in their order; in the end it is where it was in the beginning, unless that cannot be known.

        UnsafeStateError, once the trial is recorded, when nobody knows where it runs: no other is begun then.
        """
        made = {stored.record.plan.order for stored in self._folder.trials()}
        plans = self._folder.plans
        self._bus.tell(PLANNED, trials=planned(plans, made))
        home = self._where()
        try:
            for plan in plans:
                if plan.order not in made and not self._make(plan) and self._keep_on_failure:
                    self._say_where_it_is(home)
                    return
        except UnsafeStateError:
            raise
        except BaseException:
            # Whatever stopped us, Ctrl-C too: somebody else's guest is not left elsewhere without a word.
            self._say_where_it_is(home)
            raise
        self._bring(home, self._spec, "back to where it was")

    def _say_where_it_is(self, home: HostName) -> None:
        where = self._where()
        if where != home:
            self._bus.note(f"{self._spec.guest.domain} is on host {where} now; it was on host {home} in the beginning")

    def _make(self, plan: Plan) -> bool:
        """Makes a trial; whether it went well."""
        spec = self._spec.in_arm(self._spec.find_arm(plan.arm)[1])
        self._bring(plan.source, spec, "to where the next trial begins")
        self._bus.tell(TRIAL_BEGUN, **plan.model_dump())
        kept = Kept(spec, plan, self._invocation, self._folder)
        moved = self._move(spec, plan.source, plan.destination, checks_of(spec), kept)
        if moved.ending.result == "unsafe" and moved.ending.error is not None:
            raise moved.ending.error
        return moved.record.outcome.succeeded

    def _bring(self, to: HostName, spec: CampaignSpec, purpose: Purpose) -> None:
        """By a move that nobody measures, where it is not there. What it tells is no trial's, so nobody hears of it."""
        where = self._where()
        if where == to:
            return
        self._bus.step(f"moving {self._spec.guest.domain} {purpose}, host {to}")
        moved = self._move(spec, where, to, NO_CHECKS, None)
        if moved.ending.error is not None:
            raise moved.ending.error

    def _move(self, spec: CampaignSpec, source: HostName, to: HostName, checks: Checks, kept: Kept | None) -> OwnMoved:
        assert spec.guest.domain is not None
        asked = Asked(
            spec.guest.domain, self._sides[source], self._sides[to], spec.migration, take_over=self._take_over, checks=checks,
            command=self._invocation.command, bus=self._bus if kept is not None else Bus(),
        )  # fmt: skip
        return move_own(replace(asked, kept=kept))

    def _where(self) -> HostName:
        """The host that runs it; UnsafeStateError when both do, or none does."""
        assert self._spec.guest.domain is not None
        found = []
        for side in self._sides.values():
            with side.host.hypervisor() as host:
                guest = find_guest(host, self._spec.guest.domain)
                if guest is not None and guest.executing:
                    found.append(side.name)
        if len(found) != 1:
            where = " and ".join(found) or "none of its hosts"
            raise UnsafeStateError(
                f"{self._spec.guest.domain} runs on {where}",
                resolution=f"'whimbrel recover {self._spec.guest.domain}' looks at both hosts",
            )
        return found[0]
