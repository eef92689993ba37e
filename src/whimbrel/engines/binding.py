"""libvirt-python, where it is installed, and its errors as ours. It is untyped, and stays in this room."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from whimbrel.errors import EngineError

try:
    import libvirt
    import libvirt_qemu
except ImportError:  # reports, schemas, predictions and help work without it
    libvirt = None
    libvirt_qemu = None

__all__ = ["explained", "libvirt", "libvirt_qemu"]


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """What libvirt refuses becomes an EngineError that says what it could not do."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise EngineError(f"libvirt could not {what}", details=error.get_error_message() or str(error)) from error
