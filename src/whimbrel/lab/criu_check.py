"""What CRIU can do outside a guest, on this machine's own kernel: tried in namespaces like those of a server and its cell."""

from __future__ import annotations

import os
import shlex
from importlib.resources import as_file, files

from whimbrel.errors import CapabilityError, WhimbrelError
from whimbrel.images.recipes import server_tree
from whimbrel.images.store import ImageStore
from whimbrel.lab.cell import cell_command
from whimbrel.system import cgroups
from whimbrel.system.capabilities import TURN_S, Finding
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.folders import home, make_private
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run

CELL = "a cell for a container"
DUMP = "CRIU outside a guest"
TRACKING = "memory tracking outside a guest"
LAZY_PAGES = "lazy pages outside a guest"
_NAMES = {"CRIU": DUMP, "tracking": TRACKING, "lazy": LAZY_PAGES}
_NO_CORE = "version 2 of control groups, which freezes and ends a container, is not mounted"
_PROBE_S = 60.0
_GROUP = "cell"


def examine_criu(store: ImageStore) -> list[Finding]:
    """Tries it; what cannot be tried does not work, and the finding says why. Makes the server tree when it is not there."""
    try:
        return [can_have_cells(), *parse_probe(_probe(store))]
    except (WhimbrelError, OSError) as error:
        return _all_fail(str(error).splitlines()[0])


def what_is_known(store: ImageStore) -> list[Finding]:
    """As ``examine_criu``, but makes nothing that stays: without root, or before the first lab, nothing is known."""
    if os.geteuid() != 0:
        return _all_fail("not tried: that needs root")
    if not store.has(server_tree()):
        return _all_fail("not tried: the first lab makes the server tree that CRIU is in")
    return examine_criu(store)


def can_have_cells() -> Finding:
    """Whether a container on a server can be frozen and ended as a whole."""
    there = cgroups.hierarchies().core is not None
    return Finding(CELL, there, False, "version 2 of control groups is mounted" if there else _NO_CORE)


def _all_fail(why: str) -> list[Finding]:
    return [can_have_cells(), *(Finding(name, False, False, why) for name in _NAMES.values())]


def parse_probe(said: str) -> list[Finding]:
    """The lines of criu_probe.sh; CapabilityError when one is missing."""
    found = {}
    for line in said.splitlines():
        what, _, rest = line.partition("\t")
        works, _, seen = rest.partition("\t")
        if what in _NAMES:
            found[what] = Finding(_NAMES[what], works == "yes", False, seen.strip() or "it said nothing")
    if len(found) < len(_NAMES):
        raise CapabilityError("CRIU could not be tried", details=said[-500:])
    return [found[what] for what in _NAMES]


def _probe(store: ImageStore) -> str:
    if cgroups.hierarchies().core is None:
        raise CapabilityError(_NO_CORE)
    tree, aid = store.server_tree(), store.criu_aid()
    room = files("whimbrel.lab")
    probe = f"AID={shlex.quote(f'/srv/images/{aid.relative_to(store.folder)}')}\n{(room / 'criu_probe.sh').read_text()}"
    cell = ["exec", "env", f"WHIMBREL_RUN={probe}", *cell_command()]
    folder, group = home() / "doctor", Cgroup("doctor/criu")
    with Ledger("doctor", TURN_S) as ledger, as_file(room / "server.sh") as script:
        ledger.undo_all()
        try:
            ledger.add("cgroup", group.name)
            group.create(cpus=cgroups.machine_cpus(), memory_bytes=None)
            group.make_inner(_GROUP)
            ledger.add("folder", str(folder))
            make_private(folder)
            for inner in ("root", "upper", "work", "run", "own"):
                (folder / inner).mkdir()
            return run(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child", "sh", script],
                check=False, timeout_s=_PROBE_S, cgroup_procs=group.inner_procs_files(_GROUP),
                env={"TREE": str(tree), "FOLDER": str(folder), "IMAGES": str(store.folder), "SHARED": str(folder / "run"),
                     "NAME": "doctor", "WHIMBREL_RUN": shlex.join(cell)},
            ).stdout  # fmt: skip
        finally:
            ledger.undo_all()
