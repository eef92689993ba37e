#!/bin/bash
# Prints how each process of the container shares its memory with others; fails when none can be read.
pids=$(cat "$GROUP/cgroup.procs")
[ -n "$pids" ]
for pid in $pids; do
    # One that has just ended takes none.
    cat "/proc/$pid/smaps_rollup" 2>/dev/null || [ ! -e "/proc/$pid" ]
done
