"""The errors whimbrel raises on purpose, and the exit code each one stands for.

::

    WhimbrelError
    ├── UsageError            2    bad usage or input
    │   └── SpecError         2    ... in a file: names file, line and key
    ├── CapabilityError       3    this machine cannot do it; says why
    ├── MoveError             1    a move failed; exactly one copy runs
    │   └── ReservationError  1    ... because the destination cannot take the guest
    ├── UnsafeStateError      4    it is unknown which copies run, or none or two do
    ├── CleanUpError          5    something of ours is left on the machine
    └── TrialError            1    a trial could not be made or measured
        ├── InstrumentError   1    ... an instrument failed: the trial does not go on blind
        ├── GuestError        1    ... the guest or its service did not do as asked
        │   └── GuestEndedError  1  ... it ended by itself: shut down, rebooted, panicked, ...
        └── ToolError         1    ... a program we called failed
            └── EngineError   1    ... libvirt, QEMU or the guest agent failed
                ├── NoGuestError    1    ... there is no such guest there (any more)
                ├── SilentError     1    ... nobody answers: what is there is unknown
                └── RefusedError    1    ... the answer was no

Each error says what failed (``brief``), why where that is known (``cause``), the evidence (``details``) and what to do
(``resolution``); its ``code`` is what ``whimbrel explain`` takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

# What the lines of an error begin with that say why, and what to do: records hold errors as text.
CAUSE, RESOLUTION = "Why: ", "What to do: "


class WhimbrelError(Exception):
    """What failed, why where that is known, the evidence, and what to do about it."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, brief: str, *, details: str = "", resolution: str = "", cause: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.cause = cause
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        parts = [self.brief]
        if self.cause:
            parts.append(f"{CAUSE}{self.cause}")
        if self.details:
            parts.append(self.details)
        if self.resolution:
            parts.append(f"{RESOLUTION}{self.resolution}")
        return "\n".join(parts)

    @property
    def in_one_line(self) -> str:
        """What failed, why, the last line of the evidence, which with most programs says most, and what to do."""
        last = self.details.strip().rpartition("\n")[2].strip()
        why = f"{self.cause} ({last})" if self.cause and last else self.cause or last
        told = f"{self.brief}: {why}" if why else self.brief
        return f"{told}. {RESOLUTION}{self.resolution}" if self.resolution else told


def interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C was on its way when this took its place, as when clearing up failed: it must not become a mere failure."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, KeyboardInterrupt):
            return True
    return False


class UsageError(WhimbrelError):
    """The command or its input is wrong; nothing was done."""

    exit_code = 2
    code = "usage"


class SpecError(UsageError):
    """A file says something that cannot be meant; names the file, the line and the key."""

    code = "spec"

    def __init__(self, problem: str, *, file: Path, line: int | None = None, key: str = "", resolution: str = "") -> None:
        where = f"{file}:{line}" if line is not None else str(file)
        super().__init__(f"{where}: {key + ': ' if key else ''}{problem}", resolution=resolution)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key


class CapabilityError(WhimbrelError):
    """This machine lacks something the command needs."""

    exit_code = 3
    code = "capability"


class MoveError(WhimbrelError):
    """A move failed and the guest runs on exactly one host."""

    exit_code = 1
    code = "move"


class ReservationError(MoveError):
    """The destination cannot set aside what the guest needs, or its processor lacks it; nothing was moved."""

    code = "reservation"


class UnsafeStateError(WhimbrelError):
    """No copy runs, two do, or nobody can tell."""

    exit_code = 4
    code = "unsafe"


class CleanUpError(WhimbrelError):
    """Something that we created could not be removed."""

    exit_code = 5
    code = "clean-up"


class TrialError(WhimbrelError):
    """A trial could not be made or measured."""

    exit_code = 1
    code = "trial"


class InstrumentError(TrialError):
    """An instrument failed, so what it measured cannot be trusted."""

    code = "instrument"


class GuestError(TrialError):
    """The guest or its service did not do what was asked of it."""

    code = "guest"


class GuestEndedError(GuestError):
    """The guest ended by itself: nobody here had asked it to."""

    code = "guest-ended"


class ToolError(TrialError):
    """A program that we called failed."""

    code = "tool"


class EngineError(ToolError):
    """Libvirt, QEMU or the guest agent refused or failed.

    ``number`` is libvirt's number of the error (VIR_ERR_...), ``part`` is its number of the part of libvirt that raised it
    (VIR_FROM_...), and ``errno`` is the system's error, where that was the reason. All are None where libvirt had no say.
    """

    code = "engine"

    def __init__(
        self, brief: str, *, details: str = "", resolution: str = "", cause: str = "",
        number: int | None = None, part: int | None = None, errno: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(brief, details=details, resolution=resolution, cause=cause)
        self.number = number
        self.part = part
        self.errno = errno


class NoGuestError(EngineError):
    """The guest that was asked about is not there, or is there no more."""

    code = "no-guest"


class SilentError(EngineError):
    """Nobody answers: there is no connection, or it was lost. What is there is unknown."""

    code = "silent"


class RefusedError(EngineError):
    """Libvirt, QEMU or the guest agent answered, and said no."""

    code = "refused"
