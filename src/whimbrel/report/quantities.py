"""How figures are written: each with its unit, and with no more digits than it is good for. The one place that knows."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Form:
    """A figure is divided by ``divisor`` and written with so many digits after the point, then its unit."""

    unit: str
    digits: int
    divisor: float = 1.0

    def write(self, value: float) -> str:
        """The figure with its unit: ``300.4 ms``."""
        return f"{value / self.divisor:.{self.digits}f} {self.unit}".rstrip()


# By the last word of a figure's name, the longest first.
_BY_UNIT = {
    "bytes_per_s": Form("Mbit/s", 2, 125_000),
    "bytes": Form("MiB", 1, 2**20),
    "ms": Form("ms", 1),
    "s": Form("s", 3),
    "percent": Form("%", 0),
    "share": Form("%", 1, 0.01),
}
# Those that are known better, or less well, than others of their unit.
_OF_ITS_OWN = {
    "blackout_error_ms": Form("ms", 4),
    "qemu_downtime_ms": Form("ms", 0),
    "libvirt_downtime_ms": Form("ms", 0),
    "guest_clock_error_ms": Form("ms", 2),
    "guest_clock_lag_error_ms": Form("ms", 2),
    "source_cpu_s": Form("s", 2),
    "destination_cpu_s": Form("s", 2),
    "stalling_mos": Form("", 1),
    "cpu_cores": Form("cores", 3),
}
_NAMES = {"qemu": "QEMU", "cpu": "CPU", "vcpu": "vCPU", "mos": "MOS"}


def written(name: str, value: float | str | None, at_least: float | None = None) -> str:
    """A figure as it is read: ``300.4 ms``, ``unknown``, or ``unknown, at least 1800.0 ms`` where only a bound is known."""
    form = _form(name)
    if value is None:
        return UNKNOWN if at_least is None else f"{UNKNOWN}, at least {written(name, at_least)}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or form is None:
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return form.write(value)


def spoken(name: str) -> str:
    """A figure's name without its unit, in words: ``QEMU downtime``."""
    unit = _unit(name)
    bare = name.removesuffix(f"_{unit}") if unit else name
    return " ".join(_NAMES.get(word, word) for word in bare.split("_"))


def _unit(name: str) -> str | None:
    return next((unit for unit in _BY_UNIT if name == unit or name.endswith(f"_{unit}")), None)


def _form(name: str) -> Form | None:
    unit = _unit(name)
    return _OF_ITS_OWN.get(name) or (_BY_UNIT[unit] if unit else None)
