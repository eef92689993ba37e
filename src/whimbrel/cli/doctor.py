"""``doctor``: what this machine can do, and why not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from whimbrel.errors import CapabilityError
from whimbrel.system.capabilities import examine

_MISSING = CapabilityError.exit_code


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Tries everything that a lab needs on this machine; exit code 3 when something needed is missing."""
    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "ok" if finding.works else "MISSING" if finding.needed else "no"
            print(f"{mark:8s}{finding.name}: {finding.seen}")
    return _MISSING if any(finding.needed and not finding.works for finding in findings) else 0
