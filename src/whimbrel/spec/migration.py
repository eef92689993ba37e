"""How a guest is moved."""

from __future__ import annotations

import math
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from whimbrel.spec.fields import BytesPerSecond, Count, MisfitError, PositiveSeconds, Spec, Words
from whimbrel.units import format_rate

TechniqueName = Literal["cold", "paused", "pre-copy", "post-copy", "pre-post-copy"]
# What may be the same after a move as before it: memory, a counter in it that never goes back, a file that was written with
# fsync(2), and a connection from outside.
Promise = Literal["memory", "counter", "file", "connection"]
# Whether both hosts see the guest's disk; if not, whether all of it moves along or only what lies over a base that both have.
StorageName = Literal["shared", "full", "incremental"]
ContainerTechniqueName = Literal["checkpoint", "pre-copy", "post-copy", "restart"]


# What QEMU plans for when nobody says anything (migration/options.c).
_QEMU_DOWNTIME_S = 0.3
_MIB = 2**20


def whole_mib_per_s(rate_bytes_per_s: float) -> int:
    """A limit as libvirt takes it (VIR_MIGRATE_PARAM_BANDWIDTH), in MiB/s: a limit is kept, so what is over is cut off."""
    return int(rate_bytes_per_s // _MIB)


class RaiseDowntimeSpec(Spec):
    """The pause limit grows in equal steps from ``max_downtime`` to ``to``, one every ``every``, as OpenStack Nova does it."""

    to_s: PositiveSeconds = Field(alias="to", le=2000)
    steps: Count = Field(default=10, ge=2, le=100)
    every_s: PositiveSeconds = Field(alias="every", default=5.0)


class MigrationSpec(Spec):
    """A technique and its limits; ``bandwidth`` None means as fast as the link goes.

    QEMU is told ``bandwidth`` by libvirt, in whole MiB/s: ``bandwidth_set_bytes_per_s`` is what a move is held to.

    After ``max_rounds`` passes over memory the guest is stopped and the rest is copied, however much it is.
    When ``timeout`` has passed, ``on_timeout`` says whether to abort the move, to stop and copy, or to go on as post-copy.
    ``pre-post-copy`` switches to post-copy after ``pre_copy_rounds`` passes, or after ``pre_copy_for`` where that is given.
    ``connections`` above 1 sends memory over that many at once (QEMU's multifd). ``tls`` encrypts what is sent.
    ``moves: container`` moves the container of the nested form out of its VM and into another; the VMs stay where they are.
    In the form ``container`` it moves from server to server, with no VM around it.
    ``storage`` is ``shared`` when both hosts see the guest's disk. Else it lies where only its host sees it, and moves along:
    all of it (``full``), or what it holds over an image that both hosts have (``incremental``).
    ``after: set-clock`` sets the guest's wall clock right once it has been watched after the move.
    ``by: virsh`` lets plain ``virsh migrate`` do it in our place, for comparison. ``by: command`` moves a service that only its
    checks know (``service.checks``): the shell runs ``there``, which is measured, and then ``back``, which is not.
    """

    moves: Literal["vm", "container"] = "vm"
    # One list of names rather than a union of two, of which each would be a problem of its own in an error.
    technique: Literal[TechniqueName, ContainerTechniqueName] = "pre-copy"
    bandwidth_bytes_per_s: BytesPerSecond | None = Field(alias="bandwidth", default=None, ge=_MIB)
    max_downtime_s: PositiveSeconds = Field(alias="max_downtime", default=_QEMU_DOWNTIME_S, ge=0.001, le=2000)
    raise_downtime: RaiseDowntimeSpec | None = None
    max_rounds: Count = Field(default=30, ge=1, le=1000)
    timeout_s: PositiveSeconds = Field(alias="timeout", default=300.0)
    on_timeout: Literal["abort", "stop-and-copy", "post-copy"] = "abort"
    pre_copy_rounds: Count = Field(default=1, ge=1, le=1000)
    pre_copy_for_s: PositiveSeconds | None = Field(alias="pre_copy_for", default=None)
    auto_converge: bool = Field(default=False, strict=True)
    compression: Literal["none", "xbzrle", "zstd"] = "none"
    connections: Count = Field(default=1, ge=1, le=64)
    tls: bool = Field(default=False, strict=True)
    storage: StorageName = "shared"
    after: Literal["nothing", "set-clock"] = "nothing"
    by: Literal["whimbrel", "virsh", "command"] = "whimbrel"
    there: Words | None = Field(default=None, min_length=1, max_length=4000)
    back: Words | None = Field(default=None, min_length=1, max_length=4000)

    @property
    def bandwidth_set_bytes_per_s(self) -> float | None:
        """What a move is held to; None for no limit. Of ``cold`` only a disk is sent, by qemu-img, which takes any rate."""
        asked = self.bandwidth_bytes_per_s
        if asked is None or self.technique == "cold":
            return asked
        return float(whole_mib_per_s(asked) * _MIB)

    @property
    def bandwidth_note(self) -> str | None:
        """Where a move is held to less than was asked for, that it is; None where it is not."""
        asked, found = self.bandwidth_bytes_per_s, self.bandwidth_set_bytes_per_s
        if asked is None or found is None or math.isclose(asked, found):
            return None
        return f"held to {format_rate(found)}: libvirt takes whole MiB/s"

    @property
    def ends_as_post_copy(self) -> bool:
        """Whether the move may come to a point where memory follows the guest."""
        return self.technique in ("post-copy", "pre-post-copy") or self.on_timeout == "post-copy"

    @model_validator(mode="after")
    def _commands_move_it(self) -> Self:
        for key in ("there", "back"):
            if getattr(self, key) is not None and self.by != "command":
                raise MisfitError("is a command that moves a service: write 'by: command' beside it", key)
        return self

    @model_validator(mode="after")
    def _can_move_it(self) -> Self:
        """A technique of VMs for a VM, one of containers for a container, and options that mean something to it."""
        known = get_args(TechniqueName if self.moves == "vm" else ContainerTechniqueName)
        if self.technique not in known:
            what = "the VM" if self.moves == "vm" else "a container"
            raise MisfitError(f"{self.technique!r} does not move {what}; {', '.join(known)} do ('moves' says what)", "technique")
        if self.moves == "container":
            for key, value in (("bandwidth", self.bandwidth_bytes_per_s), ("raise_downtime", self.raise_downtime),
                               ("max_downtime", self.max_downtime_s != _QEMU_DOWNTIME_S),
                               ("pre_copy_rounds", self.pre_copy_rounds > 1),
                               ("auto_converge", self.auto_converge), ("tls", self.tls), ("pre_copy_for", self.pre_copy_for_s),
                               ("compression", self.compression != "none"), ("connections", self.connections > 1),
                               ("on_timeout", self.on_timeout == "post-copy")):  # fmt: skip
                if value:
                    raise MisfitError("is an option of QEMU, and has no effect on a container's move", key)
            if self.storage != "shared":
                raise MisfitError("is for the VM's disk: a container's files are sent along always", "storage")
            if self.after != "nothing":
                raise MisfitError("sets the clock of a VM: a container has the clock of where it runs, which goes on", "after")
            if self.by != "whimbrel":
                raise MisfitError("virsh moves VMs", "by")
        return self

    @model_validator(mode="after")
    def _qemu_takes_it(self) -> Self:
        """What every QEMU refuses, said before anything is moved (QEMU docs/devel/migration, migration/options.c)."""
        if self.compression == "zstd" and self.connections == 1:
            raise MisfitError("zstd is done by parallel connections: set 'connections' to 2 or more", "compression")
        if self.compression == "xbzrle" and self.connections > 1:
            raise MisfitError("QEMU refuses XBZRLE together with parallel connections", "compression")
        if self.auto_converge and self.technique in ("cold", "paused", "post-copy"):
            raise MisfitError(
                f"slows a guest that dirties memory while it is sent, which {self.technique} does not let it", "auto_converge"
            )
        if self.on_timeout == "post-copy" and self.technique in ("cold", "paused"):
            raise MisfitError(f"a guest that stands still cannot go on as post-copy: {self.technique}", "on_timeout")
        self._virsh_can()
        if self.tls and self.technique == "cold" and self.storage != "shared":
            raise MisfitError(
                "libvirt encrypts what QEMU sends; the disk of a guest that is off is sent by qemu-img as it is", "tls"
            )
        if self.raise_downtime is not None and self.raise_downtime.to_s <= self.max_downtime_s:
            raise MisfitError("is not above 'max_downtime'", "raise_downtime", "to")
        return self

    def _virsh_can(self) -> None:
        """What virsh(1) has no word for is left to our own moves."""
        if self.by != "virsh":
            return
        if self.technique not in ("pre-copy", "paused", "pre-post-copy"):
            raise MisfitError(f"one command of virsh cannot do {self.technique}; it can pre-copy, paused and pre-post-copy", "by")
        for key, value in (("raise_downtime", self.raise_downtime), ("pre_copy_for", self.pre_copy_for_s),
                           ("pre_copy_rounds", self.pre_copy_rounds > 1), ("storage", self.storage != "shared"),
                           ("on_timeout", self.on_timeout != "abort"), ("max_downtime", self.max_downtime_s != _QEMU_DOWNTIME_S),
                           ):  # fmt: skip
            if value:
                raise MisfitError("has no counterpart in the one command of virsh that 'by: virsh' stands for", key)
