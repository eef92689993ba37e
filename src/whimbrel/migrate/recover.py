"""Brings an interrupted move to one running copy: looks at both sides, decides (``recovery``), takes one step, looks again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.hypervisor import Guest, MoveStage, Progress
from whimbrel.errors import EngineError, GuestError, NoGuestError, RefusedError, UnsafeStateError
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.one_host import why_not_two
from whimbrel.migrate.live import options_of
from whimbrel.migrate.recovery import Decision, Intention, SideState, Situation, Step, decide
from whimbrel.migrate.storage import fit_for_both, keep_only_copy
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.verify import exactly_one, how_to_look, state_of
from whimbrel.system.deadline import Deadline, pause

_PATIENCE_S = 900.0
_LOOK_EVERY_S = 1.0
# "cannot" is the last word only when it stays so: a host may be starting, a job may be ending.
_SURE_AFTER_S = 15.0
# A post-copy move that sends nothing for so long has lost its link without having noticed.
_STUCK_S = 15.0
# A post-copy move that is taken up again begins to send at once, or not at all (QEMU issue 1052).
TAKEN_UP_S = 60.0
_BOOT_S = 300.0
_POWER_OFF_S = 120.0


class Sides(Protocol):
    """Both sides of a move that was interrupted."""

    def look(self) -> Situation:
        """What they say now: first whether anything moves it, then where it is, so that no end of a move falls in between."""

    def take(self, step: Step) -> None:
        """Takes a step that is neither ``done`` nor ``cannot``. EngineError or GuestError when it was refused or failed: it is
        then tried again, unless what was booted does not answer (GuestError).
        """

    def clear(self) -> None:
        """Removes what the move used, once one copy runs."""


def recover(
    sides: Sides,
    request: MoveRequest,
    intention: Intention,
    told: Callable[[Decision], None],
    about_to_boot: Callable[[], None] = lambda: None,
    made_disk: bool = False,
    look_every_s: float = _LOOK_EVERY_S,
    sure_after_s: float = _SURE_AFTER_S,
) -> str:
    """The host on which it runs in the end; ``told`` hears of each decision once, ``about_to_boot`` before it is started anew,
    from a disk that may not be the newest. ``made_disk`` says whether the move that was interrupted has made an image on its
    destination, which only it may remove.

    A step is taken when two looks in a row ask for it. UnsafeStateError when it cannot be brought to one running copy: it says
    why, and what could be done.
    """
    deadline = Deadline(_PATIENCE_S)
    moved_bytes: int | None = None
    before: Decision | None = None
    since = Deadline(sure_after_s)
    refused = ""
    booted = intention.booted
    while True:
        now = sides.look()
        if now.moved_bytes != moved_bytes:
            # What gets on is waited for, however long it takes.
            moved_bytes, deadline = now.moved_bytes, Deadline(_PATIENCE_S)
        decision = decide(now, intention)
        if decision != before:
            told(decision)
            before, since = decision, Deadline(sure_after_s)
        elif decision.step == "done":
            sides.clear()
            where = exactly_one(request.what, request.places)
            # A guest that was booted may have an older disk than the one on the other host.
            keep_only_copy(request, where, made=made_disk and not booted)
            return where
        elif deadline.passed or (decision.step == "cannot" and since.passed):
            raise UnsafeStateError(
                f"{request.what} cannot be brought to one running copy",
                details=f"{decision.why}. {refused}".rstrip(". ") + ".",
                resolution=f"mend what is named and recover again; {how_to_look(request.places)} shows what is there",
            )
        elif decision.step != "cannot":
            if decision.step == "boot" and not intention.between:
                booted = True
                about_to_boot()
            refused = _take(sides, decision.step, request.what) or refused
        pause(look_every_s)


def _take(sides: Sides, step: Step, guest: GuestIdentity) -> str | None:
    """Takes a step; why it may be tried again, or None. UnsafeStateError when what was booted does not answer."""
    try:
        sides.take(step)
    except GuestError as error:
        if step == "boot":
            raise UnsafeStateError(
                f"{guest} was started anew, but does not answer",
                details=str(error),
                resolution="recover again once it answers, or 'whimbrel undeploy' it",
            ) from error
        return f"The step '{step}' failed: {error}"
    except EngineError as error:
        return f"The step '{step}' was refused: {error}"
    return None


class VmSides:
    """Two hosts. Implements ``Sides``.

    ``description`` is what the guest is booted from; ``shutting_down`` says that it was told to power off, which takes its time.
    """

    def __init__(self, request: MoveRequest, description: str, switched: bool, shutting_down: bool) -> None:
        self._request = request
        self._description = description
        self._switched = switched
        self._sent: int | None = None
        self._sent_until = Deadline(_STUCK_S)
        self._limit = Deadline(request.spec.timeout_s)
        self._powering_off = Deadline(_POWER_OFF_S if shutting_down else 0.0)
        self._resuming: _Resuming | None = None
        # When the move, once it is to be taken up again, should have begun to send, and what it had sent until then.
        self._taken_up: Deadline | None = None
        self._taken_up_bytes: int | None = None

    def look(self) -> Situation:
        """Asks for libvirt's job, QEMU's own word on it, and libvirt's states, in this order."""
        guest, source, destination = self._request.what, self._request.source, self._request.destination
        with ExitStack() as stack:
            try:
                here = _guest_on(source, guest, stack)
                job = _job_of(here)
            except EngineError:
                # It may answer a moment later; whether anything is under way it has not said.
                return Situation("silent", state_of(destination, guest))
            try:
                there = _guest_on(destination, guest, stack)
            except EngineError:
                return Situation(state_of(source, guest), "silent")
            stage, told = _stage_of(here)
            states = state_of(source, guest), state_of(destination, guest)
            if not told and states[0] != "absent":
                # Not to know whether everything was sent is not the same as that it was not.
                states = "silent", states[1]
            if states[0] != "runs":
                # It is off; what runs there from now on was booted.
                self._powering_off = Deadline(0.0)
            try:
                split = stage == "broken off" or self._half_is_lost(there, states)
            except EngineError:
                return Situation(states[0], "silent")
            moving = job is not None and not split
            moved_bytes = job.copied_bytes if job is not None else None
            if moving and self._taken_up is not None:
                self._note_progress(moved_bytes)
            # While a job runs the destination's monitor would answer only when it has ended.
            whole = there is not None and not moving and not split and _has_all(there)
            return Situation(
                *states,
                not_two=why_not_two(source, destination),
                under_way=moving or (states[0] == "runs" and not self._powering_off.passed),
                split=split,
                deaf=split and self._taken_up is not None and self._taken_up.passed,
                sent=stage == "all sent",
                whole=whole,
                moved_bytes=moved_bytes,
            )

    def _note_progress(self, moved_bytes: int | None) -> None:
        """A move that was taken up and sends again may break once more, and is then taken up once more."""
        if self._taken_up_bytes is None:
            self._taken_up_bytes = moved_bytes
        elif moved_bytes != self._taken_up_bytes:
            self._taken_up = self._resuming = None

    @staticmethod
    def _half_is_lost(there: Guest | None, states: tuple[SideState, SideState]) -> bool:
        """The source is gone, and the destination still waited for memory of it."""
        return states[0] == "absent" and there is not None and (there.split or there.in_post_copy)

    def take(self, step: Step) -> None:
        """Takes the step through libvirt."""
        request = self._request
        with ExitStack() as stack:
            here, there = (_guest_on(host, request.what, stack) for host in (request.source, request.destination))
            actor = here if step in ("wait", "resume post-copy", "source goes on", "end source") else there
            if step == "boot":
                self._boot([guest for guest in (here, there) if guest is not None])
            elif actor is None:
                return  # it has gone since we looked: the next look says so
            elif step == "wait":
                self._limit_the_wait(actor)
            elif step == "resume post-copy":
                self._resume()
            elif step.endswith("goes on"):
                actor.resume()
            else:
                actor.destroy()

    def clear(self) -> None:
        """There is nothing to clear: libvirt removes what it made."""

    def _resume(self) -> None:
        """Begins to take the move up again, once; EngineError when that was refused, and it may be tried again."""
        if self._resuming is None:
            self._refuse_to_end_libvirt()
            self._resuming = _Resuming(self._request)
        if self._taken_up is None:
            self._taken_up, self._taken_up_bytes = Deadline(TAKEN_UP_S), None
        error = self._resuming.error
        if error is not None:
            self._resuming = None
            raise error

    def _refuse_to_end_libvirt(self) -> None:
        """EngineError, and the move counts as one that cannot be taken up, where to ask for it would only do harm."""
        there = self._request.destination
        with there.hypervisor() as connection:
            if connection.abilities.resumes_post_copy:
                return
            version = ", ".join(f"{program} {version}" for program, version in connection.versions().items())
        self._taken_up = Deadline(0.0)
        raise EngineError(f"host {there.name} ({version}) crashes when it is asked to take up a post-copy move")

    def _resumes(self) -> bool:
        with self._request.destination.hypervisor() as connection:
            return connection.abilities.resumes_post_copy

    def _limit_the_wait(self, here: Guest) -> None:
        """Aborts a pre-copy that never ends; interrupts a post-copy move that sends nothing, where it can be taken up again."""
        if self._limit.passed and (not self._switched or here.move_stage == "under way"):
            # Whoever kept its limits has died, perhaps between the word and the order to switch. libvirt refuses once memory
            # follows the guest.
            with suppress(RefusedError):
                here.abort()
                here.break_off_disk()
        found = here.progress() or Progress()
        if found.transferred_bytes != self._sent:
            self._sent, self._sent_until = found.transferred_bytes, Deadline(_STUCK_S)
        elif self._sent_until.passed and self._resumes():
            here.interrupt_post_copy()

    def _boot(self, left: list[Guest]) -> None:
        """Where its newest disk is: on its source, unless it moves along and the switch was ordered."""
        request = self._request
        shared = request.spec.storage == "shared"
        first, second = request.source, request.destination
        if self._switched and not shared:
            first, second = second, first
        if first.gone and not shared:
            raise UnsafeStateError(
                f"the disk of {request.what} lies on host {first.name}, which has died",
                details=f"the copy on host {second.name} may not be whole",
                resolution="start that host again, and recover again",
            )
        for guest in left:
            guest.destroy()
        with (second if first.gone else first).hypervisor() as connection:
            agent = GuestAgent(connection.create(fit_for_both(request, self._description)))
            agent.wait(_BOOT_S)
            request.after_boot(agent)


class _Resuming:
    """A call that takes a post-copy move up again. On a thread of its own: it lasts until memory is there, or for ever."""

    def __init__(self, request: MoveRequest) -> None:
        self._request = request
        self.error: EngineError | None = None
        threading.Thread(target=self._call, name="resume", daemon=True).start()

    def _call(self) -> None:
        try:
            with self._request.source.hypervisor() as connection:
                found = connection.find(self._request.what.uuid)
                if found is not None:
                    found.migrate(options_of(self._request, resume=True))
        except EngineError as error:
            self.error = error


def _job_of(here: Guest | None) -> Progress | None:
    """Reads the job of a guest that may have gone; EngineError when its host does not say."""
    try:
        return here.progress() if here is not None else None
    except NoGuestError:
        return None


def _stage_of(here: Guest | None) -> tuple[MoveStage | None, bool]:
    """The hypervisor's word on its move, and whether it is known; there is none of a guest that has gone."""
    try:
        return (here.move_stage if here is not None else None), True
    except NoGuestError:
        return None, True
    except EngineError:
        return None, False


def _has_all(there: Guest) -> bool:
    """Whether the destination says that all has come; not when nobody says."""
    try:
        return there.has_all
    except EngineError:
        return False


def _guest_on(host: Host, guest: GuestIdentity, stack: ExitStack) -> Guest | None:
    """The guest on a host, while ``stack`` is open; None on one that has died."""
    if host.gone:
        return None
    found = stack.enter_context(host.hypervisor()).find(guest.uuid)
    return found if found is not None and found.active else None
