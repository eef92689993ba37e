# ACTION: what we do at one of CRIU's moments. The source has "network-unlock" too, at the end of a dump that leaves it running.
# shellcheck shell=bash
# shellcheck source=src/whimbrel/migrate/container/common.sh
. /run/move/common.sh
# shellcheck source=/dev/null
. /run/move/settings
case $SIDE/$1 in
source/pre-dump)
    echo 1 >"$GROUP/cgroup.freeze"
    until_group_says frozen 1 10 || exit 1
    say frozen
    detach || exit 1
    ;;
destination/network-unlock) attach && say attached ;;
destination/post-resume) say restored ;;
esac
exit 0
