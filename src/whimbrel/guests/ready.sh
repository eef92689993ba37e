# shellcheck shell=bash
# Functions for the other scripts, which come right after this one in one text (scripts.py).
set -eu

# until_true TENTHS COMMAND...: asks ten times a second whether the command succeeds; fails when it never does.
until_true() {
    local tenths=$1
    shift
    until "$@" 2>/dev/null; do
        tenths=$((tenths - 1))
        [ "$tenths" -gt 0 ] || return 1
        sleep 0.1
    done
}

# takes_connections PORT [COMMAND...]: whether somebody listens there; the command comes first, as one that enters a network.
takes_connections() {
    local port=$1
    shift
    "$@" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
}
