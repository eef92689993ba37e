"""What can be done inside something that holds a service: a guest, by its agent, or a server's cell, through its namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whimbrel.errors import GuestError


class Inside(Protocol):
    """Commands, small files and jobs. Implemented by ``engines.guest_agent.GuestAgent`` and ``lab.cell.LabCell``."""

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a program and returns what it printed; GuestError when it fails."""

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a line of shell."""

    def write(self, path: str, text: str) -> None:
        """Writes a small file, over what is there."""

    def read(self, path: str) -> bytes:
        """A small file; GuestError when there is none."""

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        """Starts a program that goes on by itself; what it complains of goes into the file ``errors``."""

    def job_runs(self, name: str) -> bool:
        """Whether the job still runs."""

    def end_job(self, name: str) -> None:
        """Tells it to end, waits, and kills what is left of it; nothing happens when there is none."""


@dataclass(frozen=True)
class NothingInside:
    """The inside of what has ended. Implements ``Inside``; all that is asked of it is a GuestError."""

    what: str

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        """Raises GuestError, as nothing runs there."""
        raise self._gone()

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        """Raises GuestError, as nothing runs there."""
        raise self._gone()

    def write(self, path: str, text: str) -> None:
        """Raises GuestError, as nothing can be kept there."""
        raise self._gone()

    def read(self, path: str) -> bytes:
        """Raises GuestError, as there is no file."""
        raise self._gone()

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        """Raises GuestError, as nothing runs there."""
        raise self._gone()

    def job_runs(self, name: str) -> bool:
        """Raises GuestError, as nobody can say."""
        raise self._gone()

    def end_job(self, name: str) -> None:
        """Raises GuestError, as it has ended with the rest."""
        raise self._gone()

    def _gone(self) -> GuestError:
        return GuestError(f"{self.what} is gone")


class Cell(Inside, Protocol):
    """Namespaces of their own on a host, for a container and what moves it."""

    @property
    def gone(self) -> bool:
        """Whether its first process has ended, and with it all that was inside."""

    def close(self) -> None:
        """Ends all that is inside."""


@dataclass(frozen=True)
class NoCell(NothingInside):
    """The cell of a host that has none. Implements ``Cell``."""

    @property
    def gone(self) -> bool:
        """True, as there is none."""
        return True

    def close(self) -> None:
        """Nothing is left to end."""
