"""A guest of QEMU's as libvirt sees it: its life, its moves, its monitor and its agent."""

from __future__ import annotations

import json
import threading
import time
import xml.etree.ElementTree as ET
from contextlib import AbstractContextManager, suppress
from typing import Any

from whimbrel.engines.binding import explained, libvirt, libvirt_qemu
from whimbrel.engines.hypervisor import DirtyRateMode, Guest, MoveFigures, MoveOptions, MoveStage, Progress
from whimbrel.engines.libvirt_moves import flags_of, parameters_of, progress_of, stage_of
from whimbrel.errors import CapabilityError, EngineError, NoGuestError, RefusedError

# libvirt's name of the node that a move copies a disk to begins so.
_COPIED_TO = "migration-"


def qemu_of(guest: Guest) -> Domain:
    """The guest, as one whose QEMU can be asked; CapabilityError when it has none."""
    if not isinstance(guest, Domain):
        raise CapabilityError(f"{guest.name} is not run by QEMU")
    return guest


# No hypervisor can be reached so: a libvirt that is asked to take a guest from there refuses at once.
_NOWHERE = "nowhere://localhost"


class Domain:
    """A guest as libvirt sees it. Implements ``engines.hypervisor.Guest``.

    Whatever is asked of it may end with NoGuestError (it is not there any more), SilentError (its host does not answer) or
    RefusedError (the answer was no), unless it says otherwise.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.name: str = raw.name()

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(what, self._raw.connect(), self._raw)

    @property
    def raw(self) -> Any:
        """libvirt's own domain, for the other modules of this room."""
        return self._raw

    @property
    def uuid(self) -> str:
        """What tells it from another of the same name."""
        return str(self._raw.UUIDString())

    @property
    def memory_bytes(self) -> int:
        """The most memory that the guest may have."""
        with self._explained(f"read the memory of {self.name}"):
            return int(self._raw.maxMemory()) * 1024

    @property
    def resident_bytes(self) -> int | None:
        """What its QEMU holds in the host's memory; None where libvirt does not say."""
        with self._explained(f"read the memory of {self.name}"):
            found = self._raw.memoryStats().get("rss")
        return int(found) * 1024 if found is not None else None

    @property
    def active(self) -> bool:
        """Whether a QEMU process exists for it."""
        try:
            with self._explained(f"tell whether {self.name} is active"):
                return bool(self._raw.isActive())
        except NoGuestError:
            return False

    @property
    def executing(self) -> bool:
        """Whether its processors run: active and not paused."""
        found = self._state_and_reason()
        return found is not None and found[0] in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED)

    @property
    def crashed(self) -> bool:
        """Whether it panicked and was left as it was then (``on_crash`` preserve): it never goes on."""
        found = self._state_and_reason()
        return found is not None and found[0] == libvirt.VIR_DOMAIN_CRASHED

    @property
    def split(self) -> bool:
        """Whether libvirt says that a post-copy move has failed in the middle, and this is one of its two halves."""
        return self._state_and_reason() in (
            (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED),
            (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED),
        )

    @property
    def in_post_copy(self) -> bool:
        """Whether it runs here and some of its memory has not come yet."""
        return self._state_and_reason() == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY)

    @property
    def has_all(self) -> bool:
        """Whether QEMU here has got all that it waited for (query-status)."""
        status = self.monitor("query-status").get("status")
        return status is not None and status != "inmigrate"

    @property
    def move_stage(self) -> MoveStage | None:
        """What QEMU here says of its move (query-migrate); None where there is none."""
        status: str | None = self.monitor("query-migrate").get("status")
        return stage_of(status)

    def move_figures(self) -> MoveFigures | None:
        """QEMU gives its downtime only when the move has completed; before that the key is absent or an expectation."""
        answer = self.monitor("query-migrate")
        if answer.get("status") != "completed":
            return None
        return MoveFigures(int(answer["downtime"]) if "downtime" in answer else None, answer.get("ram"))

    def move_blockers(self) -> tuple[str, ...] | None:
        """QEMU's own reasons not to move it (query-migrate, since QEMU 6.0); None where it does not say."""
        try:
            return tuple(map(str, self.monitor("query-migrate").get("blocked-reasons", ())))
        except RefusedError:
            return None

    def settings(self) -> tuple[dict[str, Any], list[str]]:
        """QEMU's migration parameters, and those of its migration capabilities that are on."""
        able = [each["capability"] for each in self.monitor_list("query-migrate-capabilities") if each["state"]]
        return self.monitor("query-migrate-parameters"), able

    def _state_and_reason(self) -> tuple[int, int] | None:
        """libvirt's numbers; None when it is not there."""
        try:
            with self._explained(f"read the state of {self.name}"):
                state, reason = self._raw.state()
        except NoGuestError:
            return None
        return state, reason

    def migrate(self, options: MoveOptions) -> None:
        """Moves it, peer to peer, to the host at ``peer_uri``; returns when the move has ended."""
        with self._explained(f"move {self.name} to {options.peer_uri}"):
            self._raw.migrateToURI3(options.peer_uri, parameters_of(options), flags_of(options))

    def start_post_copy(self) -> None:
        """Lets the guest go on at the destination now, and its memory follow."""
        with self._explained(f"switch the move of {self.name} to post-copy"):
            self._raw.migrateStartPostCopy(0)

    def interrupt_post_copy(self) -> None:
        """Stops the sending of a post-copy move that gets nowhere; ``MoveOptions.resume`` goes on with it.

        Nothing happens to a move that is in no post-copy.
        """
        try:
            with self._explained(f"interrupt the move of {self.name}"):
                self._raw.abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)
        except RefusedError:
            # So says libvirt also when it has given the move up while QEMU still tries; QEMU refuses where there is no such move.
            with suppress(RefusedError):
                self._monitor("migrate-pause")

    def abort(self) -> None:
        """Aborts the running move; nothing happens when there is none. RefusedError when it can only go on."""
        try:
            with self._explained(f"abort the move of {self.name}"):
                self._raw.abortJob()
        except RefusedError:
            # libvirt has one number for both answers.
            if self.progress() is not None:
                raise

    def break_off_disk(self) -> None:
        """Ends the connections over which QEMU copies a disk for a move (yank), so that a copy which was cancelled ends at once.

        Where the link is cut it would wait for them for a quarter of an hour. Only for a move that was told to abort; such a move
        cannot go on without its disk: libvirt lets QEMU hand over only once each copy has been concluded and its connection
        taken down, and fails the move when one has failed (qemuMigrationSrcRun, the same in libvirt 9.0 and 11.3). Nothing
        happens when there is none.
        """
        instances = self.monitor_list("query-yank")
        copies = [each for each in instances if str(each.get("node-name")).startswith(_COPIED_TO)]
        if copies:
            self._monitor("yank", {"instances": copies})

    def set_move_capability(self, name: str, on: bool) -> None:
        """Switches one of QEMU's migration capabilities; RefusedError when it, or its host, has no such thing.

        libvirt sets those that it knows anew for each move.
        """
        self.monitor("migrate-set-capabilities", {"capabilities": [{"capability": name, "state": on}]})

    def try_page_faults(self) -> None:
        """RefusedError when QEMU may not handle page faults, or not as snapshots in the background need it.

        It tries userfaultfd(2), as the user that it runs as, when it is told that such snapshots may be made.
        """
        self.set_move_capability("background-snapshot", True)
        self.set_move_capability("background-snapshot", False)

    def set_max_downtime_ms(self, milliseconds: int) -> None:
        """The longest pause that QEMU may plan for (downtime-limit)."""
        with self._explained(f"set the longest downtime of {self.name}"):
            self._raw.migrateSetMaxDowntime(milliseconds, 0)

    def progress(self) -> Progress | None:
        """Reads the running job's statistics; None when there is no job."""
        stats = self._stats(0)
        return progress_of(stats) if stats is not None else None

    def completed_job_stats(self, keep: bool = False) -> dict[str, int] | None:
        """The statistics of the last completed job, None when there is none; libvirt forgets them unless they are to ``keep``."""
        kept = libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED if keep else 0
        return self._stats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | kept)

    def _stats(self, flags: int) -> dict[str, int] | None:
        with self._explained(f"read the job of {self.name}"):
            raw = self._raw.jobStats(flags)
        if raw.get("type") == libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        return {key: value for key, value in raw.items() if isinstance(value, int)}

    def monitor(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a command to QEMU's monitor and returns its answer."""
        answer = self._monitor(command, arguments)
        if not isinstance(answer, dict):
            raise RefusedError(f"QEMU of {self.name} answered {command} with something else", details=repr(answer)[:200])
        return answer

    def monitor_list(self, command: str) -> list[dict[str, Any]]:
        """The answer to a QEMU monitor command that lists things."""
        return list(self._monitor(command))

    def _monitor(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        with self._explained(f"ask QEMU of {self.name} ({command})"):
            answer = json.loads(libvirt_qemu.qemuMonitorCommand(self._raw, request, 0))
        if "return" not in answer:
            said = answer.get("error", {}).get("desc", "no reason given")
            raise RefusedError(f"QEMU of {self.name} refused {command}", details=said)
        return answer["return"]

    def agent(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: int = 20) -> Any:
        """Sends a command to the guest's agent and returns its answer."""
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        with self._explained(f"ask the guest agent of {self.name} ({command})"):
            text = libvirt_qemu.qemuAgentCommand(self._raw, request, timeout_s, 0)
        return json.loads(text).get("return")

    @property
    def in_kvm(self) -> bool:
        """Whether it runs on the host's own processor."""
        return ET.fromstring(self.description).get("type") == "kvm"

    def dirty_rate_mib_per_s(self, seconds: int, mode: DirtyRateMode = "sampling") -> int:
        """Starts a measurement of the dirty rate by page sampling, waits for it, and returns whole MiB/s."""
        with self._explained(f"measure the dirty rate of {self.name}"):
            self._raw.startDirtyRateCalc(seconds, _dirty_rate_flag(mode))
        limit_s = time.monotonic() + seconds + 30
        while time.monotonic() < limit_s:
            threading.Event().wait(0.1)
            with self._explained(f"read the dirty rate of {self.name}"):
                stats = self._connection_stats()
            if stats.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
                return int(stats["dirtyrate.megabytes_per_second"])
        raise EngineError(f"the dirty rate of {self.name} was not measured within {seconds + 30} s")

    def call_peer(self, peer_uri: str) -> None:
        """Has the host's libvirt call another host's, and no more: the other one refuses the kind of address that is named.

        What comes in between is raised; nothing is sent, and nothing started there.
        """
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
        try:
            with self._explained(f"call {peer_uri}"):
                self._raw.migrateToURI3(peer_uri, {libvirt.VIR_MIGRATE_PARAM_URI: _NOWHERE}, flags)
        except RefusedError as error:
            if "unsupported scheme" not in error.details:
                raise

    def _connection_stats(self) -> dict[str, Any]:
        connection = self._raw.connect()
        found = connection.domainListGetStats([self._raw], libvirt.VIR_DOMAIN_STATS_DIRTYRATE, 0)
        return dict(found[0][1])

    def save(self, file: str) -> None:
        """Stops the guest and writes its state to ``file``, a path on the host."""
        with self._explained(f"save {self.name} to {file}"):
            self._raw.saveFlags(file, None, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def suspend(self) -> None:
        """Lets its processors stand still."""
        with self._explained(f"pause {self.name}"):
            self._raw.suspend()

    def resume(self) -> None:
        """Lets its processors go on."""
        with self._explained(f"let {self.name} go on"):
            self._raw.resume()

    def shutdown_by_agent(self) -> None:
        """Asks the guest to power itself off."""
        with self._explained(f"shut {self.name} down"):
            self._raw.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)

    def destroy(self) -> None:
        """Takes its power away; nothing happens when it has none."""
        try:
            with self._explained(f"stop {self.name}"):
                self._raw.destroy()
        except NoGuestError:
            return

    def undefine(self) -> None:
        """Lets libvirt forget one that is off; nothing happens to one that it forgets by itself."""
        with self._explained(f"forget {self.name}"):
            if self._raw.isPersistent():
                self._raw.undefine()

    @property
    def description(self) -> str:
        """Its description as text, as libvirt would start it anew; what libvirt itself assigned is left out."""
        with self._explained(f"describe {self.name}"):
            return str(self._raw.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_MIGRATABLE))

    @property
    def arriving_description(self) -> str:
        """Its description as text, as a destination may be given it (``destination_xml``)."""
        with self._explained(f"describe {self.name}"):
            return str(self._raw.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))

    @property
    def persistent(self) -> bool:
        """Whether libvirt keeps its description when it is off."""
        with self._explained(f"tell whether it keeps {self.name}"):
            return bool(self._raw.isPersistent())

    @property
    def definition(self) -> str:
        """The description that libvirt keeps."""
        with self._explained(f"describe {self.name}"):
            return str(self._raw.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    @property
    def autostart(self) -> bool:
        """Whether libvirt starts it when it starts itself."""
        with self._explained(f"tell whether {self.name} starts by itself"):
            return bool(self._raw.autostart())

    def set_autostart(self, on: bool) -> None:
        """Has libvirt start it when it starts itself, or not."""
        with self._explained(f"let {self.name} start by itself"):
            self._raw.setAutostart(int(on))

    def read_note(self, namespace: str) -> str | None:
        """An element of the metadata of the running domain."""
        return self._note(namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def _note(self, namespace: str, where: int) -> str | None:
        try:
            with self._explained(f"read the metadata of {self.name}"):
                return str(self._raw.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, namespace, where))
        except RefusedError as error:
            if error.number == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise

    def write_note(self, namespace: str, prefix: str, element: str) -> None:
        """Into the metadata of the running domain."""
        self._write(namespace, prefix, element, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def remove_note(self, namespace: str) -> None:
        """A destination that keeps the description of a domain takes it over from the running one, note and all."""
        if self.active and self._note(namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE) is not None:
            self._write(namespace, None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if self.persistent and self._note(namespace, libvirt.VIR_DOMAIN_AFFECT_CONFIG) is not None:
            self._write(namespace, None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def _write(self, namespace: str, prefix: str | None, element: str | None, where: int) -> None:
        with self._explained(f"write the metadata of {self.name}"):
            self._raw.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, prefix, namespace, where)


def _dirty_rate_flag(mode: DirtyRateMode) -> int:
    flags = {
        "sampling": libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING,
        "bitmap": libvirt.VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP,
        "ring": libvirt.VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING,
    }
    return int(flags[mode])
