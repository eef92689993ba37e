"""The container of a carrier, described for runc so that CRIU can dump it. Pure. Format: opencontainers/runtime-spec, config.md.

No terminal, files instead of pipes on its standard streams, no masked folders: each of those would be a file system more to
dump while it stands still. For the same reason /dev is a folder of its root file system, into which runc puts the usual nodes.
Its network is made beforehand and named by path: it exists on both sides before a move begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"]


MOST_OPEN_FILES = 65536


def description(
    name: str,
    command: Sequence[str],
    netns: str,
    readonly_folders: Sequence[str],
    criu_config: str,
    open_files: int = MOST_OPEN_FILES,
) -> dict[str, Any]:
    """The bundle's config.json; ``readonly_folders`` of the carrier are in the container at the same path.

    ``criu_config`` is a file of options for CRIU on the carrier. ``open_files`` is a limit, which must be the same on both sides.
    """
    return {
        "ociVersion": "1.0.2",
        "hostname": name,
        # CRIU reads this last, after what runc tells it; each move writes it (migrate/container/side.py).
        "annotations": {"org.criu.config": criu_config},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "noNewPrivileges": True,
            "args": list(command),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": open_files, "soft": open_files}],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            *(
                {"destination": folder, "type": "bind", "source": folder, "options": ["bind", "ro"]}
                for folder in readonly_folders
            ),
        ],
        "linux": {
            "cgroupsPath": f"/whimbrel/{name}",
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                {"type": "network", "path": netns},
            ],
            "maskedPaths": [],
            "readonlyPaths": [],
        },
    }
