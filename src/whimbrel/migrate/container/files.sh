# Sourced by depart.sh and arrive.sh: the files that a container has written. They are sent while it runs, and once it stands still
# only what has changed since. What changed is told by the inode and the time of its last change (ctime), which no program can set;
# by path, so that what was moved is sent at its new place. (tar has a way of its own, --listed-incremental. Of a folder that was
# moved elsewhere it sends the name alone, and the content is lost.)
# shellcheck shell=bash
: "${ROOT:=/}"
UPPER=${HOME_OF#/}/upper
LISTS=${MOVE#"$ROOT"}
LISTS=${LISTS#/}
PACKED=(--xattrs "--xattrs-include=*" -C "$ROOT")

list_files() { # all there is, sorted by path: "PATH//CTIME INODE TYPE" and a NUL; no path has two slashes in a row
    (cd "$ROOT" && find "$UPPER" -printf '%p//%C@ %i %y\0') | sort -z
}

note_files() { # from here on what changes shows
    # While the container runs files may vanish under our hands.
    list_files >before 2>/dev/null
    # The clock of files ticks every few milliseconds: what changes within one tick looks the same.
    read -r -t 0.05 <>"$MOVE/never"
    # A file that is mapped into memory is written without a sign while its page has not gone to disk; after that the next write shows.
    sync -f "$ROOT/$UPPER"
}

compare_files() { # lists in "changed" what is to be sent, and in "gone" what is to be removed before that
    local line path what was=
    : >gone
    # A path's line of then comes right before its line of now, which begins with a tab.
    while IFS= read -r -d '' line; do
        path=${line%//*} what=${line##*//}
        what=${what#* }
        if [ "${line:0:1}" = $'\t' ]; then
            path=${path:1}
            printf '%s\0' "$path"
            # What has changed where it was is written over.
            [ "$was" != "$path//$what" ] || was=
        else
            [ -z "$was" ] || printf '%s\0' "${was%//*}" >>gone
            was=$path//$what
        fi
    done >changed < <(set -o pipefail; list_files | comm -z -3 before -)
    wait "$!" || return 1
    [ -z "$was" ] || printf '%s\0' "${was%//*}" >>gone
}

pack_all() { # [NAME...]: these, and all files
    tar -c "${PACKED[@]}" "$@" "$UPPER"
}

pack_changed() { # NAME...: these with all that is in them, and the files that have changed
    tar -c "${PACKED[@]}" "$LISTS/gone" "$LISTS/changed" "$@" --no-recursion --null -T "$MOVE/changed"
}

unpack() { # ARCHIVE [NAME...]
    tar -x "${PACKED[@]}" -f "$@"
}

unpack_changed() { # ARCHIVE: first removes what is gone, what is within a folder before the folder
    unpack "$1" "$LISTS/gone" "$LISTS/changed" && leads_nowhere_else gone || return 1
    # A folder that is still there keeps what has not changed.
    [ ! -s gone ] || sort -z -r gone | (cd "$ROOT" && xargs -0 rm -df --) 2>/dev/null
    leads_nowhere_else changed && unpack "$1"
}

leads_nowhere_else() { # LIST: whether no folder on the way to any of these is a symbolic link, as a container might have made it
    local path folder seen=
    while IFS= read -r -d '' path; do
        folder=${path%/*}
        [ "$folder" != "$seen" ] || continue
        seen=$folder
        while [[ $folder = "$UPPER"/* ]]; do
            [ ! -L "$ROOT/$folder" ] || return 1
            folder=${folder%/*}
        done
    done <"$1"
}
