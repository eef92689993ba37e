"""What libvirt answers, as it does (codes seen with libvirt 11.3), and what becomes of each answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from whimbrel.engines import domain as engine
from whimbrel.engines.binding import libvirt
from whimbrel.engines.domain import Domain
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.hypervisor import Progress
from whimbrel.engines.libvirt_storage import Pool
from whimbrel.errors import EngineError, GuestError, NoGuestError, RefusedError, SilentError

pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

_NO_DOMAIN, _INVALID, _TIMED_OUT, _SYSTEM, _NO_VOLUME = 42, 55, 68, 38, 50
_FROM_RPC, _FROM_QEMU = 7, 10


def error(code: int, source: int, message: str) -> Exception:
    found: Exception = libvirt.libvirtError(message)
    found.err = (code, source, message, 2, "", "", "", -1, -1)  # type: ignore[attr-defined]
    return found


class RawConnection:
    """libvirt's connection."""

    def __init__(self, alive: bool) -> None:
        self._alive = alive

    def isAlive(self) -> int:  # noqa: N802
        return int(self._alive)


class Raw:
    """libvirt's domain, which answers every question with the same error, or with what it has."""

    def __init__(self, trouble: Exception | None = None, alive: bool = True, active: bool = True, job: int = 0) -> None:
        self._trouble = trouble
        self.asked: list[str] = []
        self._connection = RawConnection(alive)
        self._active = active
        self._job = job

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*_: Any) -> Any:
            self.asked.append(name)
            if self._trouble is not None:
                raise self._trouble
            return {"type": self._job, "memory_processed": 5}

        return ask

    def name(self) -> str:
        return "guest"

    def connect(self) -> RawConnection:
        return self._connection

    def isActive(self) -> int:  # noqa: N802
        if self._trouble is not None and self._trouble.get_error_code() != _INVALID:  # type: ignore[attr-defined]
            raise self._trouble
        return int(self._active)


def gone() -> Raw:
    return Raw(error(_NO_DOMAIN, _FROM_QEMU, "Domain not found"))


def going() -> Raw:
    return Raw(error(_INVALID, _FROM_QEMU, "domain is not running"), active=False)


def silent() -> Raw:
    return Raw(error(_SYSTEM, _FROM_RPC, "End of file while reading data: Input/output error"), alive=False)


def busy() -> Raw:
    return Raw(error(_TIMED_OUT, _FROM_QEMU, "cannot acquire state change lock"))


def of_its_peer() -> Raw:
    """The host lost its own connection to the other one: it answers."""
    return Raw(error(_SYSTEM, _FROM_RPC, "Cannot recv data: Connection reset by peer"))


ANSWERS = [(gone, NoGuestError), (going, NoGuestError), (silent, SilentError), (busy, RefusedError), (of_its_peer, RefusedError)]
QUESTIONS: list[Callable[[Domain], object]] = [
    Domain.progress,
    Domain.completed_job_stats,
    Domain.start_post_copy,
    Domain.abort,
    lambda guest: guest.set_max_downtime_ms(5),
    lambda guest: guest.move_stage,
    lambda guest: guest.monitor("query-status"),
    lambda guest: guest.agent("guest-ping"),
    lambda guest: guest.memory_bytes,
]


@pytest.fixture(autouse=True)
def raw_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt_qemu's functions take libvirt's domain."""

    class Qemu:
        qemuMonitorCommand = staticmethod(lambda raw, *_: json.dumps({"return": raw.ask()}))  # noqa: N815
        qemuAgentCommand = staticmethod(lambda raw, *_: json.dumps({"return": raw.ask()}))  # noqa: N815

    monkeypatch.setattr(engine, "libvirt_qemu", Qemu)


@pytest.mark.parametrize(("raw", "kind"), ANSWERS)
@pytest.mark.parametrize("question", range(len(QUESTIONS)))
def test_each_answer_is_an_error_of_its_own(raw: Callable[[], Raw], kind: type[EngineError], question: int) -> None:
    with pytest.raises(EngineError) as caught:
        QUESTIONS[question](Domain(raw()))
    assert type(caught.value) is kind
    assert caught.value.details


def test_no_job_is_no_error() -> None:
    assert Domain(Raw()).progress() is None
    assert Domain(Raw()).completed_job_stats() is None
    assert Domain(Raw(job=2)).progress() == Progress(transferred_bytes=5)


def test_to_abort_where_there_is_no_job_is_no_error_and_where_there_is_one_it_is() -> None:
    refusal = error(_INVALID, _FROM_QEMU, "no job is active on the domain")
    idle, moving = Raw(), Raw(job=2)
    for raw in (idle, moving):
        vars(raw)["abortJob"] = lambda: (_ for _ in ()).throw(refusal)
    Domain(idle).abort()
    with pytest.raises(RefusedError):
        Domain(moving).abort()


@pytest.mark.parametrize("raw", [gone, going])
def test_a_guest_that_is_not_there_is_not_active_and_needs_no_destroying(raw: Callable[[], Raw]) -> None:
    assert not Domain(raw()).active
    Domain(raw()).destroy()


def test_one_of_a_silent_host_is_neither_active_nor_not() -> None:
    for ask in (lambda guest: guest.active, lambda guest: guest.executing, Domain.destroy):
        with pytest.raises(SilentError):
            ask(Domain(silent()))


def test_what_qemu_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = json.dumps({"error": {"class": "GenericError", "desc": "only supported during postcopy-active"}})
    monkeypatch.setattr("whimbrel.engines.domain.libvirt_qemu.qemuMonitorCommand", lambda *_: refusal)
    with pytest.raises(RefusedError, match="only supported during"):
        Domain(Raw()).monitor("migrate-pause")


@pytest.mark.parametrize(("raw", "kind"), [(gone, GuestError), (silent, SilentError)])
def test_an_agent_that_can_answer_no_more_is_not_waited_for(raw: Callable[[], Raw], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        GuestAgent(Domain(raw())).wait(600)


@pytest.mark.parametrize(("code", "alive", "kind"), [(_SYSTEM, False, SilentError), (_INVALID, True, RefusedError)])
def test_a_file_that_could_not_be_removed_does_not_count_as_removed(code: int, alive: bool, kind: type[EngineError]) -> None:
    with pytest.raises(kind):
        Pool(Raw(error(code, _FROM_RPC, "it did not work"), alive), "/srv/shared").remove("guest.qcow2")


def test_a_file_that_is_not_there_needs_no_removing() -> None:
    raw = Raw(error(_NO_VOLUME, _FROM_QEMU, "no storage vol with matching name"))
    Pool(raw, "/srv/shared").remove("guest.qcow2")
    assert raw.asked == ["refresh"]
