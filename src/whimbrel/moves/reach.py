"""Whether services of the VM and of the container in it reach each other, before a move, during it, and after it."""

from __future__ import annotations

from contextlib import ExitStack

from whimbrel.guests.forms import FORMS, read_reach_log
from whimbrel.hosts.host import Host
from whimbrel.hosts.inside import Inside
from whimbrel.moves.notes import count_reach
from whimbrel.moves.subject import Setting, Subject
from whimbrel.records.trial import ReachCounts


class ReachCheck:
    """Has both ask each other in the guest, which writes down each answer; does nothing where no container is in a VM."""

    def __init__(self, setting: Setting, subject: Subject) -> None:
        self._setting = setting
        self._subject = subject
        self._runs = False
        self._lines: list[str] = []
        self._lengths: list[int] = []

    def start(self, inside: Inside) -> None:
        """Lets them begin to ask."""
        every_s = self._setting.spec.observe.reach_every_s
        if every_s is not None and self._setting.spec.migration.moves == "vm":
            self._runs = FORMS[self._setting.plan.form].start_reach_check(inside, self._setting.service, every_s)

    def look(self, host: Host) -> None:
        """Looks, on the host where the guest is, at what was answered so far: just before the move, just after it, at the end."""
        if self._runs:
            with ExitStack() as holding:
                self._lines = read_reach_log(self._subject.inside_on(host, holding))
            self._lengths.append(len(self._lines))

    @property
    def counts(self) -> ReachCounts | None:
        """What was answered before, during and after the move; None where nobody asked."""
        if not self._runs:
            return None
        before, until_after_move, _ = self._lengths
        return count_reach(self._lines, before, until_after_move)
