# shellcheck shell=sh
# Makes a control group the root of those that a cell sees, and goes into a leaf of it; then becomes what follows, in the same mounts.
# Version 2, whatever version counts and limits on this machine: it freezes and ends a group as a whole. Its root there hands
# controllers down to containers, so no process may be in it. libvirtd does not see it, and so does with its QEMUs what it always did.
set -eu
mount --make-rprivate /
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/own
echo 0 >/sys/fs/cgroup/own/cgroup.procs
exec "$@"
