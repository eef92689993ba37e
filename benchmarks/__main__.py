"""``python -m benchmarks``: every benchmark, or those named; a table on stdout.

All but ``growth`` and ``looking_on`` need root.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from benchmarks import asking, containers, crowd, fresh, growth, looking_on, moves, own, shown, together


def note(text: str) -> None:
    """Progress, on stderr."""
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def line(what: str, goal: str, found: str) -> None:
    """A line of the table."""
    print(f"| {what} | {goal} | {found} |", flush=True)


def run_moves(rounds: int) -> None:
    """Ours against virsh, and what a trial costs."""
    with moves.bench(note) as here:
        against_virsh, against_bare = moves.compare_moves(here, rounds, note)
        line("our trial over plain `virsh migrate --live --p2p`, 5 viewers, libvirt's total time", "1.05", str(against_virsh))
        line("instruments on over off, 5 viewers, libvirt's total time", "1.02", str(against_bare))
        with_ten = [here.trial(10) for _ in range(3)]
        cores = statistics.median(map(moves.instrument_cores, with_ten))
        line("CPU of all instruments, 10 viewers", "0.25 cores", f"{cores:.3f} cores (median of 3)")
        shares = [share for stored in here.trials if (share := moves.line_share(stored)) is not None]
        line("bytes on the wire over line rate while memory is sent", "0.95",
             f"{statistics.median(shares):.3f} [{min(shares):.3f} to {max(shares):.3f}] ({len(shares)} trials)")  # fmt: skip
        line("what a trial costs beside settling, watching and the move", "3 s",
             f"{statistics.median(here.extra_s):.2f} s [{min(here.extra_s):.2f} to {max(here.extra_s):.2f}]"
             f" ({len(here.extra_s)} trials)")  # fmt: skip


def run_crowd(_: int) -> None:
    """Viewers per core."""
    found, vlc = crowd.find_most(note)
    good = [each for each in found if (each.jitter_p99_ms or 0.0) <= crowd.MOST_JITTER_MS]
    best = good[-1] if good else found[0]
    line("viewers in one player at 2.5 Mbit/s before it is 5 ms late itself (p99)", "500",
         f"{best.viewers} ({best.cores:.2f} cores: {best.per_core:.0f} per core; {best.jitter_p99_ms:.1f} ms late)")  # fmt: skip
    if vlc is None:
        line("the same, a VLC process each", "", "VLC is not installed")
    else:
        line(
            "the same, a VLC process each",
            "",
            f"{vlc.per_core:.0f} per core (10 viewers); ours over theirs {best.per_core / vlc.per_core:.1f}",
        )


def run_containers(rounds: int) -> None:
    """Containers moved by us against Podman's checkpoint, copy and restore."""
    with containers.bench(note) as here:
        for technique, found in containers.compare(here, rounds, note).items():
            goal = "0.25" if technique == "pre-copy" else ""
            line(f"a container moved by our {technique} over Podman's way, 2 viewers, service gap", goal, str(found))


def run_fresh(_: int) -> None:
    """From nothing to the first page."""
    line("a fresh tree to the first page, Debian packages there", "10 min", f"{fresh.first_page_s() / 60:.1f} min")


def run_growth(rounds: int) -> None:
    """Ten times as many trials."""
    found = growth.measure(rounds, note)
    line("a campaign of 10,000 trials in 500 arms, planned", "2 s", f"{found.planning_s:.2f} s")
    line("planning, per trial: 10,000 trials over 1,000", "1.5", str(found.planning))
    line("`show` of 1,000 trials, figures kept over derived anew", "0.25", str(found.kept_over_anew))
    line("whose kept figures are those derived anew", "all", f"{found.alike:,} of {found.compared:,}")
    line("`show`, per trial: 10,000 trials over 1,000", "1.5", str(found.showing))
    line("the page, per trial: 10,000 trials over 1,000", "1.5", str(found.paging))
    line("tables for `query` and `export`, per trial: 10,000 trials over 1,000", "1.5", str(found.asking))


def run_together(rounds: int) -> None:
    """Saved states made two at a time."""
    goals = {"time to make two": "0.6", "total time": "1", "blackout": "1", "bytes of the state": "1"}
    for what, found in together.compare(rounds, note).ratios().items():
        line(f"saved states made two at a time over one after the other: {what}", goals[what], str(found))


def run_own(rounds: int) -> None:
    """Guests of the user's own."""
    with own.bench() as here:
        line("a move of your own guest over plain `virsh migrate --live --p2p`, libvirt's total time", "1.02",
             str(own.against_virsh(here, rounds, note)))  # fmt: skip
        line(f"whether each of {own.GUESTS} guests can move to another host", "5 s", f"{own.check_s(here):.1f} s")


def run_looking_on(_: int) -> None:
    """What the bus and a live page take."""
    alone = looking_on.nobody()
    for pages in (0, 1, 20):
        found = looking_on.measure(pages)
        line(f"publishing a move's events and samples, {pages} live pages open, beside the loop that does it", "1% of a core",
             f"{(found.here - alone.here) * 100:.2f}%")  # fmt: skip
        line(f"the process that serves them, {pages} live pages open", "0.5% of a core per page", f"{found.beside * 100:.2f}%")


def run_shown(rounds: int) -> None:
    """Moves with a live page and without."""
    with moves.bench(note) as here:
        found = shown.compare(here, rounds, note)
    for name, pairs in found.ratios.items():
        line(f"a move with a live page open over one without, {moves.VIEWERS} viewers: {name}", "1 within", str(pairs))
    line("the process that serves it, in such a trial", "0.5% of a core per page", f"{found.beside * 100:.2f}%")


def run_asking(_: int) -> None:
    """Checks against programs that ask as well."""
    ours, peers, icmp, ping = asking.compare(note)
    what = f"{asking.CHECKS} checks of {asking.RATE_PER_S} HTTP requests a second"
    line(what, "", f"{ours.per_s:.0f} a second in {ours.cores:.2f} cores: {ours.per_core:.0f} per core")
    for name, peer in peers.items():
        found = f"{peer.per_s:.0f} a second in {peer.cores:.2f} cores: {peer.per_core:.0f} per core" if peer else "not installed"
        line(f"the same by `{name}`" + (", as fast as it can" if name == "wrk" else ""), "", found)
    line("100 ICMP echoes a second, median", "", f"{icmp.typical_ms:.3f} ms, {icmp.cores:.3f} cores")
    line("the same by `ping -D`", "", f"{ping.typical_ms:.3f} ms, {ping.cores:.3f} cores" if ping else "not installed")


BENCHMARKS = {
    "asking": run_asking,
    "moves": run_moves,
    "shown": run_shown,
    "crowd": run_crowd,
    "containers": run_containers,
    "fresh": run_fresh,
    "growth": run_growth,
    "together": run_together,
    "looking_on": run_looking_on,
    "own": run_own,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which; all without one")
    parser.add_argument("--rounds", type=int, default=6, help="rounds in which every way has its turn (default 6)")
    given = parser.parse_args()
    print("| what | goal | found |\n|---|---|---|")
    for name in given.names or BENCHMARKS:
        BENCHMARKS[name](given.rounds)


if __name__ == "__main__":
    main()
