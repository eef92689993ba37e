"""What trials start from is made before them, by two at a time: Debian packages, or a boot, leave half of a machine idle.

Each saved state is made as it would be alone: by a guest of its own, in a lab of its own, on CPUs of its own.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Literal

from whimbrel.durable import replace_text
from whimbrel.errors import UsageError
from whimbrel.events import Told
from whimbrel.hosts.site import Site
from whimbrel.images.jobs import make_all, missing
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.needs import Wanted, image_jobs, state_jobs
from whimbrel.moves.starts import Starts
from whimbrel.moves.working_folder import working_folder
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES, LabSpec
from whimbrel.system import memory
from whimbrel.system.cgroups import machine_cpus
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import Running, start

Task = Literal["images", "states"]

# It takes its lab down, and what it has half made.
_END_S = 60.0
_LAST_WORDS_S = 5.0


def make_images(wanted: Sequence[Wanted], store: ImageStore, ledger: Ledger, told: Told) -> None:
    """Makes every image that is missing."""
    jobs = image_jobs(wanted, store)
    two = len(missing(jobs, store)) > 1 and len(machine_cpus()) > 1
    with made_beside("images", wanted, ledger, None, told) if two else nullcontext():
        make_all(jobs, store, told)


def make_states(wanted: Sequence[Wanted], starts: Starts, site: Site, told: Told) -> None:
    """Makes every saved state that is missing."""
    jobs = state_jobs(wanted, starts)
    left = missing(jobs, site.files.store)
    if not left:
        return
    lab = lab_beside(site, max(spec.guest.memory_bytes for spec, _ in wanted)) if len(left) > 1 else None
    count = "a saved state is" if len(left) == 1 else f"{len(left)} saved states are"
    told(f"{count} missing that the next trials start from{'; two are made at a time' if lab else ''}")
    with made_beside("states", wanted, site.ledger, lab, told) if lab else nullcontext():
        make_all(jobs, site.files.store, told)


def lab_beside(site: Site, guest_memory_bytes: int) -> LabSpec | None:
    """A lab like the site's, whose first server has the CPUs of the site's second, which idles; None where there is no room."""
    if not isinstance(site, Lab):
        return None
    cpus = site.accounting.cpu_placement
    room = memory.available_bytes() >= 2 * (guest_memory_bytes + QEMU_OVERHEAD_BYTES)
    first, second = list(site.hosts)[:2]
    if set(cpus[first]) & set(cpus[second]) or not room:
        return None
    servers = site.spec.servers
    beside = servers[first].model_copy(update={"cpus": tuple(cpus[second])})
    # Nothing is moved in it.
    return site.spec.model_copy(
        update={
            # As long as the name of a lab may be.
            "name": f"{site.spec.name[:8]}-beside",
            "servers": {**servers, first: beside},
            "tls": False,
            "link_delay_s": 0.0,
            "link_loss": 0.0,
            "migration_link": None,
        }
    )


@contextmanager
def made_beside(task: Task, wanted: Sequence[Wanted], ledger: Ledger, lab: LabSpec | None, told: Told) -> Iterator[None]:
    """A second process makes the same, as far as it is not made already, in a lab of its own; it ends with the block."""
    with working_folder(ledger, 0) as folder:
        wanted_file, lab_file, log_file = (folder / name for name in ("wanted.json", "lab.json", "beside.log"))
        content = [[spec.model_dump(mode="json"), plan.model_dump(mode="json")] for spec, plan in wanted]
        replace_text(wanted_file, json.dumps(content), lasting=False)
        replace_text(lab_file, json.dumps(lab and lab.model_dump(mode="json")), lasting=False)
        # It must not go on without us, however we end.
        command: list[str | Path] = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "whimbrel.moves.beside"]
        command += [task, wanted_file, lab_file]
        running = start(command, stdout=True, log_file=log_file, env={"PYTHONPATH": str(Path(__file__).parents[2])})
        reader = threading.Thread(target=_pass_on, args=(running.stdout, told), name="beside", daemon=True)
        reader.start()
        try:
            yield
            if running.exit_code not in (None, 0):
                told(f"what made {task} beside has failed, and all of them were made here: {_reason(log_file)}")
        finally:
            _end(running)
            reader.join(_LAST_WORDS_S)
            if lab is not None:
                _clear(lab.name)


def _reason(log_file: Path) -> str:
    """The first line of the error that ended it: the last one that is not indented begins that."""
    lines = log_file.read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line and not line[0].isspace()), "it said nothing")


def _pass_on(stream: IO[bytes], told: Told) -> None:
    for line in stream:
        told(line.decode(errors="replace").rstrip("\n"))


def _end(running: Running) -> None:
    try:
        running.stop(_END_S)
    except BaseException:
        running.stop(_END_S)
        raise


def _clear(name: str) -> None:
    """What it could not remove itself; a lab of this name that is somebody else's stays."""
    with suppress(UsageError), ledger_of(name) as ledger:
        if not ledger.kept:
            ledger.undo_all()
