"""Which CPUs each server gets: whole cores, as many of each kind, so that none slows another and all are alike. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from whimbrel.system.topology import Core, write_list

Split: TypeAlias = Mapping[str, tuple[int, ...]]
"""The CPUs of each server, by its name; what none has is left to the vantage and the instruments, which may run anywhere."""

_Kind = tuple[str, int]
_Thing = TypeVar("_Thing")


def are_apart(found: Split, cores: Sequence[Core]) -> bool:
    """Whether no core has to work for two servers."""
    return all(sum(bool(set(core.cpus) & set(cpus)) for cpus in found.values()) <= 1 for core in cores)


def split(cores: Sequence[Core], servers: Iterable[str]) -> Split:
    """Equal parts of each kind of core, in the order of ``cores``; what is left over is nobody's.

    Where that leaves nothing, equal parts of what there is: unlike cores, the threads of too few cores, or one CPU in turns.
    """
    names = list(servers)
    kinds: dict[_Kind, list[Core]] = {}
    for core in cores:
        kinds.setdefault(_kind(core), []).append(core)
    parts = [_parts(found, len(names)) for found in kinds.values()]
    alike = [_cpus([core for part in parts for core in part[position]]) for position in range(len(names))]
    if all(alike):
        return dict(zip(names, alike, strict=True))
    if len(cores) >= len(names):
        return {name: _cpus(part) for name, part in zip(names, _parts(cores, len(names)), strict=True)}
    threads = _cpus(cores)
    if len(threads) >= len(names):
        return {name: tuple(part) for name, part in zip(names, _parts(threads, len(names)), strict=True)}
    return {name: (threads[position % len(threads)],) for position, name in enumerate(names)}


def split_as_asked(cores: Sequence[Core], asked: Mapping[str, tuple[int, ...] | None]) -> Split:
    """With the CPUs that were asked for; servers for which none were share the cores that the others do not touch."""
    given = {name: cpus for name, cpus in asked.items() if cpus}
    taken = set(itertools.chain.from_iterable(given.values()))
    rest = [core for core in cores if not set(core.cpus) & taken]
    others = [name for name in asked if name not in given]
    shares = split(rest, others) if rest and others else split(cores, asked)
    return {name: given.get(name) or shares[name] for name in asked}


def describe(found: Split, cores: Sequence[Core]) -> str:
    """How servers with these CPUs stand to each other, in words; ``cores`` are those of the machine that may be used."""
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        if both := set(a) & set(b):
            return f"{one} and {other} share CPU {write_list(both)}: each slows the other"
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        if shared := [core for core in cores if set(core.cpus) & set(a) and set(core.cpus) & set(b)]:
            return f"{one} and {other} share {_named('core', shared)}, with a thread for each: each slows the other"
    mixes = {name: Counter(_kind(core, cpus) for core in cores if set(core.cpus) & set(cpus)) for name, cpus in found.items()}
    first = next(iter(mixes.values()))
    if any(mix != first for mix in mixes.values()):
        return f"whole cores, but unlike ones: {', '.join(f'{name} has {_counted(mix)}' for name, mix in mixes.items())}"
    everything = set(itertools.chain.from_iterable(found.values()))
    others = [core for core in cores if not set(core.cpus) & everything]
    left = f"; {_named('core', others)} left to viewers and instruments" if others else ""
    return f"whole cores, alike: {_counted(first)} each{left}"


def _parts(things: Sequence[_Thing], count: int) -> list[Sequence[_Thing]]:
    """Cuts into so many equal parts; what is left over is in none of them."""
    size = len(things) // count
    return [things[size * position : size * (position + 1)] for position in range(count)]


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
