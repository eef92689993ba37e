"""Which CPUs each server gets: whole cores, as many of each kind, so that neither slows the other and both are alike. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.system.topology import Core, write_list

_Kind = tuple[str, int]


@dataclass(frozen=True)
class Split:
    """The CPUs of each server; what neither has is left to the vantage and the instruments, which may run anywhere."""

    a: tuple[int, ...]
    b: tuple[int, ...]

    def apart(self, cores: Sequence[Core]) -> bool:
        """Whether no core has to work for both."""
        return not any(set(core.cpus) & set(self.a) and set(core.cpus) & set(self.b) for core in cores)


def split(cores: Sequence[Core]) -> Split:
    """Halves of each kind of core, in the order of ``cores``; an odd one is left over.

    Where that leaves nothing, halves of what there is: unlike cores, the threads of the only core, or one CPU for both.
    """
    kinds: dict[_Kind, list[Core]] = {}
    for core in cores:
        kinds.setdefault(_kind(core), []).append(core)
    halves = [(found[: len(found) // 2], found[len(found) // 2 : len(found) // 2 * 2]) for found in kinds.values()]
    a, b = (_cpus([core for half in halves for core in half[side]]) for side in (0, 1))
    if a:
        return Split(a, b)
    if len(cores) > 1:
        return Split(_cpus(cores[: len(cores) // 2]), _cpus(cores[len(cores) // 2 : len(cores) // 2 * 2]))
    threads = _cpus(cores)
    half = len(threads) // 2
    return Split(threads[:half], threads[half : half * 2]) if half else Split(threads, threads)


def split_as_asked(cores: Sequence[Core], a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> Split:
    """With the CPUs that were asked for; a server for which none were gets the cores that the other does not touch."""
    if a and b:
        return Split(a, b)
    halves = split(cores)
    rest = _cpus([core for core in cores if not set(core.cpus) & set(a or b or ())])
    if a:
        return Split(a, rest or halves.b)
    return Split(rest or halves.a, b) if b else halves


def describe(halves: Split, cores: Sequence[Core]) -> str:
    """How servers with these CPUs stand to each other, in words; ``cores`` are those of the machine that may be used."""
    a, b = halves.a, halves.b
    both = set(a) & set(b)
    if both:
        return f"A and B share CPU {write_list(both)}: each slows the other"
    shared = [core for core in cores if set(core.cpus) & set(a) and set(core.cpus) & set(b)]
    if shared:
        return f"A and B share {_named('core', shared)}, with a thread for each: each slows the other"
    mixes = [Counter(_kind(core, cpus) for core in cores if set(core.cpus) & set(cpus)) for cpus in (a, b)]
    if mixes[0] != mixes[1]:
        return f"whole cores, but unlike ones: A has {_counted(mixes[0])}, B has {_counted(mixes[1])}"
    others = [core for core in cores if not set(core.cpus) & (set(a) | set(b))]
    left = f"; {_named('core', others)} left to viewers and instruments" if others else ""
    return f"whole cores, alike: {_counted(mixes[0])} each{left}"


def _kind(core: Core, of: Sequence[int] | None = None) -> _Kind:
    return core.kind, len(core.cpus if of is None else set(core.cpus) & set(of))


def _cpus(cores: Sequence[Core]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))


def _counted(mix: Counter[_Kind]) -> str:
    said = []
    for (kind, threads), count in sorted(mix.items()):
        words = f"{count} core{'s' if count != 1 else ''}"
        words += f" of {threads} threads" if threads > 1 else ""
        said.append(words + (f" ({kind})" if kind else ""))
    return " and ".join(said) or "none"


def _named(what: str, cores: Sequence[Core]) -> str:
    return f"{what}{'s' if len(cores) > 1 else ''} {'; '.join(write_list(core.cpus) for core in cores)}"
