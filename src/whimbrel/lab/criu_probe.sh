# shellcheck shell=sh
# Dumps and restores a process that listens, as a service does. A line for each thing tried: what it is, "yes" or "no", what was seen.
# Wants AID, a library for LD_PRELOAD, in front of it.
cd /run || exit 1
ip link set lo up
tell() { printf '%s\t%s\t%s\n' "$1" "$2" "$3"; }
# A limit that CRIU cannot raise for itself does it no harm.
first_error() { grep -h Error "$@" 2>/dev/null | grep -v 'RLIMIT_NOFILE for self' | sed -n '1s/^([0-9.]*) *//p'; }
feature() {
    if said=$(criu check --feature "$2" 2>&1); then tell "$1" yes "$said"; else tell "$1" no "$said"; fi
}

version=$(criu --version | sed -n '1s/.* //p')
setsid nc -l 127.0.0.1 7000 </dev/null >/dev/null 2>&1 &
pid=$!
tries=100
until grep -q ':1B58 00000000:0000 0A' /proc/net/tcp || [ "$tries" = 0 ]; do tries=$((tries - 1)); sleep 0.02; done
mkdir images
if LD_PRELOAD=$AID criu dump --tree "$pid" --images-dir images -o dump.log -v1 >/dev/null 2>&1 &&
    { wait "$pid"; LD_PRELOAD=$AID criu restore --restore-detached --images-dir images -o restore.log -v1 >/dev/null 2>&1; } &&
    kill "$pid"; then
    tell CRIU yes "version $version dumped a process that listens, and restored it"
else
    tell CRIU no "version $version: $(first_error images/dump.log images/restore.log)"
fi
feature tracking mem_dirty_track
feature lazy uffd
