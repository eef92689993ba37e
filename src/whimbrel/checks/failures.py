"""Tells from an error of the system's in which way a question failed."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from whimbrel.checks.check import Failed, NotSent

_UNREACHABLE = (
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EPERM,
    errno.EACCES,
    errno.ENONET,
    errno.EPROTO,
    errno.ENOPROTOOPT,
)
_RESET = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN)
# This machine has no descriptor, memory or port left. EAGAIN is what fork says.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN)


def failure_of(error: Exception) -> Failed | NotSent:
    """What an exception says of a question that raised it."""
    if isinstance(error, (Failed, NotSent)):
        return error
    if isinstance(error, TimeoutError):
        return Failed("timed-out", "no answer in time")
    # An SSLError is an OSError too, and so is a name that is not found.
    if isinstance(error, ssl.SSLError):
        return Failed("tls", getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error))
    if isinstance(error, socket.gaierror):
        return Failed("name", error.strerror or str(error))
    if isinstance(error, EOFError):
        return Failed("reset", "the connection was closed before the answer was there")
    if isinstance(error, OSError):
        return _of_number(error)
    return Failed("other", f"{type(error).__name__}: {error}")


def _of_number(error: OSError) -> Failed | NotSent:
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _OURS:
        return NotSent(words)
    if error.errno == errno.ECONNREFUSED:
        return Failed("refused", words)
    if error.errno in _RESET:
        return Failed("reset", words)
    if error.errno == errno.ETIMEDOUT:
        return Failed("timed-out", words)
    return Failed("unreachable" if error.errno in _UNREACHABLE else "other", words)
