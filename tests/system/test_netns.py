"""Namespaces, on kernels unlike this one as well."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from whimbrel.system.process import run

# In a view of the files of its own, in which the kernel has no IPv6, as when it was started with ipv6.disable=1.
_WITHOUT_IPV6 = """
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "none", "/proc/sys/net/ipv6"], check=True)
from whimbrel.system import netns
netns.create("whimbrel-without")
try:
    print(subprocess.run([*netns.inside("whimbrel-without"), "ip", "-br", "link"], capture_output=True, text=True).stdout)
finally:
    netns.delete("whimbrel-without")
print(netns.exists("whimbrel-without"))
"""


def test_one_is_made_on_a_kernel_without_ipv6() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    said = run(["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _WITHOUT_IPV6], env=env).stdout
    assert said.split()[:2] == ["lo", "UNKNOWN"]
    assert said.split()[-1] == "False"
