"""Each failure that is known, told from what libvirt and QEMU really said; what is not known stays unexplained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whimbrel.engines.binding import libvirt
from whimbrel.engines.failures import FAILURES, diagnose, number_of
from whimbrel.errors import EngineError, SilentError, ToolError

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "recorded" / "failures.json").read_text())


def error_of(each: dict[str, Any]) -> EngineError:
    return (SilentError if each["silent"] else EngineError)(
        "libvirt could not move it", details=each["words"], number=each["number"], part=each["origin"], errno=each["errno"]
    )


@pytest.mark.parametrize("each", RECORDED, ids=lambda each: each["provocation"])
def test_what_was_heard_is_told_by_its_name(each: dict[str, Any]) -> None:
    found = diagnose(error_of(each), each["log"]) if each["number"] is not None else diagnose(None, each["words"])
    assert found is not None
    assert found.name == each["failure"]


@pytest.mark.parametrize("each", RECORDED, ids=lambda each: each["provocation"])
def test_what_qemu_writes_into_its_log_as_a_matter_of_course_explains_nothing(each: dict[str, Any]) -> None:
    found = diagnose(None, each["log"])
    assert found is None or found.name == each["failure"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_each_failure_was_heard(failure: Any) -> None:
    assert failure.name in {each["failure"] for each in RECORDED}


def test_names_are_there_once() -> None:
    assert len({failure.name for failure in FAILURES}) == len(FAILURES)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_no_cure_ends_a_copy_of_the_guest(failure: Any) -> None:
    for word in ("virsh destroy", "undefine", "virsh reset", "stop the other", "remove the other", "rm ", "kill the"):
        assert word not in failure.cure
    assert failure.cause[0].islower() or failure.cause.startswith(("QEMU", "TLS"))
    assert not failure.cure.endswith(".")


@pytest.mark.parametrize(
    "words",
    [
        "internal error: the moon is full",
        "operation failed: guest unexpectedly quit",
        "Cannot do that",
        "unsupported configuration: scripts are not supported on interfaces of type user",
        "Requested operation is not valid: domain is not running",
    ],
)
def test_what_is_not_known_is_not_explained(words: str) -> None:
    for number in (1, 9, 38, 55, 67, 68, 86):
        for origin in (0, 7, 10, 18, 20):
            assert diagnose(EngineError("libvirt could not move it", details=words, number=number, part=origin)) is None


def test_an_error_that_is_not_from_libvirt_is_not_taken_for_one() -> None:
    assert diagnose(ToolError("qemu-img failed", details="Cannot allocate memory")) is None
    assert diagnose(EngineError("the dirty rate was not measured", details="Cannot allocate memory")) is None
    assert diagnose(None) is None


def test_numbers_tell_without_words_in_another_language() -> None:
    unsafe = EngineError("", details="Unsichere Migration: Migration ohne gemeinsamen Speicher", number=81, part=10)
    refused = SilentError("", details="Verbindungsaufbau abgelehnt", number=38, part=7, errno=111)
    for error, name in ((unsafe, "unsafe"), (refused, "connection-refused")):
        found = diagnose(error)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    "each", [each for each in RECORDED if each["number"] is not None and not each["silent"]], ids=lambda each: each["provocation"]
)
def test_what_virsh_prints_is_told_as_well(each: dict[str, Any]) -> None:
    words = f"error: {each['words']}"
    told = EngineError("virsh ended with exit code 1", details=words, number=number_of(words))
    found = diagnose(told)
    assert found is not None
    assert found.name == each["failure"]


@pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")
def test_numbers_are_libvirts() -> None:
    from whimbrel.engines import failures

    for ours, name in {
        "INTERNAL": "ERR_INTERNAL_ERROR", "NO_MEMORY": "ERR_NO_MEMORY", "FAILED": "ERR_OPERATION_FAILED",
        "SYSTEM": "ERR_SYSTEM_ERROR", "NO_NETWORK": "ERR_NO_NETWORK", "AUTH_FAILED": "ERR_AUTH_FAILED",
        "NO_POOL": "ERR_NO_STORAGE_POOL", "INVALID": "ERR_OPERATION_INVALID", "UNSUPPORTED": "ERR_CONFIG_UNSUPPORTED",
        "TIMED_OUT": "ERR_OPERATION_TIMEOUT", "ABORTED": "ERR_OPERATION_ABORTED", "AUTH_CANCELLED": "ERR_AUTH_CANCELLED",
        "UNSAFE": "ERR_MIGRATE_UNSAFE", "AUTH_UNAVAILABLE": "ERR_AUTH_UNAVAILABLE", "ACCESS_DENIED": "ERR_ACCESS_DENIED",
        "CPU": "ERR_CPU_INCOMPATIBLE", "FROM_RPC": "FROM_RPC", "FROM_QEMU": "FROM_QEMU", "FROM_STORAGE": "FROM_STORAGE",
        "FROM_DOMAIN": "FROM_DOMAIN", "FROM_LIBSSH2": "FROM_SSH", "FROM_LIBSSH": "FROM_LIBSSH",
        "NOT_SUPPORTED": "ERR_OPERATION_UNSUPPORTED",
    }.items():  # fmt: skip
        assert getattr(failures, ours) == getattr(libvirt, f"VIR_{name}"), name
