"""libvirt-python, where it is installed, and its errors as ours. It is untyped, and stays in this room.

One policy for all that is asked of a host: a guest that is not there (NoGuestError), a host that does not answer (SilentError)
and an answer that is no (RefusedError) are three errors; that there is no job is no error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from whimbrel.engines.failures import diagnose
from whimbrel.errors import EngineError, NoGuestError, RefusedError, SilentError

try:
    import libvirt
    import libvirt_qemu
except ImportError:  # reports, schemas, predictions and help work without it
    libvirt = None
    libvirt_qemu = None

__all__ = ["explained", "libvirt", "libvirt_qemu"]


@contextlib.contextmanager
def explained(what: str, connection: Any, domain: Any = None) -> Iterator[None]:
    """What fails within becomes an EngineError that says what libvirt could not do, and is one of three kinds.

    ``connection`` is libvirt's own, None while there is none yet: then the error says why, and what to do, where that is known.
    ``domain`` is the guest that is asked about.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        number = error.get_error_code()
        told = _kind_of(error, connection, domain)(
            f"libvirt could not {what}",
            details=error.get_error_message() or str(error),
            number=number,
            part=error.get_error_domain(),
            errno=error.get_int1() if number == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() > 0 else None,
        )
        known = diagnose(told) if connection is None else None
        if known is not None:
            told.cause, told.resolution = known.cause, known.cure
        raise told from error


def _kind_of(error: Any, connection: Any, domain: Any) -> type[EngineError]:
    if connection is None:
        denied = (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_AUTH_UNAVAILABLE)
        return RefusedError if error.get_error_code() in denied else SilentError
    if not _lives(connection):
        return SilentError
    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN or (domain is not None and _has_gone(error, domain)):
        return NoGuestError
    return RefusedError


def _lives(connection: Any) -> bool:
    """Whether the connection still stands. An error of the transport may as well be one that the host had with its peer."""
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _has_gone(error: Any, domain: Any) -> bool:
    """libvirt says of a guest that is just going that the operation is invalid, as of much else."""
    if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
        return False
    try:
        return not domain.isActive()
    except libvirt.libvirtError as asked:
        return bool(asked.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)
