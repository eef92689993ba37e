# Sourced by depart.sh and arrive.sh: the files that a container has written. They are sent while it runs, and once it stands still
# only what has changed since. What changed is told by the inode and the time of its last change (ctime), which no program can set;
# by path, so that what was moved is sent at its new place. (tar has a way of its own, --listed-incremental. Of a folder that was
# moved elsewhere it sends the name alone, and the content is lost.)
# An archive is unpacked where nothing is but the place for its content: a container may have made a link of what was a folder when
# it was listed, and then names lead elsewhere.
# shellcheck shell=bash
PACKED=(--xattrs "--xattrs-include=*" --numeric-owner)

list_files() { # all there is, sorted by path: "PATH//CTIME INODE TYPE" and a NUL; no path has two slashes in a row
    (cd "$HOME_OF" && find upper -printf '%p//%C@ %i %y\0') | sort -z
}

note_files() { # from here on what changes shows
    # While the container runs files may vanish under our hands.
    list_files >before 2>/dev/null
    # The clock of files ticks every few milliseconds: what changes within one tick looks the same.
    read -r -t 0.05 <>"$MOVE/never"
    # A file that is mapped into memory is written without a sign while its page has not gone to disk; after that the next write shows.
    sync -f "$HOME_OF/upper"
}

compare_files() { # lists in "changed" what is to be sent, and in "images/gone" what is to be removed before that
    local line path what was=
    mkdir -p images
    : >images/gone
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
            [ -z "$was" ] || printf '%s\0' "${was%//*}" >>images/gone
            was=$path//$what
        fi
    done >changed < <(set -o pipefail; list_files | comm -z -3 before -)
    wait "$!" || return 1
    [ -z "$was" ] || printf '%s\0' "${was%//*}" >>images/gone
}

pack_all() { # [NAME...]: these of the move's folder, and all files
    tar -c "${PACKED[@]}" -C "$MOVE" "$@" -C "$HOME_OF" upper
}

pack_changed() { # [NAME...]: these of the move's folder with all that is in them, and the files that have changed
    tar -c "${PACKED[@]}" -C "$MOVE" images/gone "$@" -C "$HOME_OF" --no-recursion upper --null -T "$MOVE/changed"
}

build_jails() { # one for the container's files, and one for what CRIU is to read, which no file of a container may become
    mkdir -p "$MOVE/images" && build_jail upper "$HOME_OF/upper" && build_jail images "$MOVE/images"
}

build_jail() { # NAME FOLDER: a root with the system's programs, of which this folder alone can be written
    local jail=$MOVE/jail/$1
    mkdir -p "$jail/usr" "$jail/$1" && ln -s usr/bin usr/lib usr/lib64 "$jail" &&
        mount --bind "$jail" "$jail" &&
        mount --bind /usr "$jail/usr" && mount -o remount,bind,ro "$jail/usr" &&
        mount --bind "$2" "$jail/$1" && mount -o remount,bind,ro "$jail"
}

unpack() { # ARCHIVE NAME: what the archive has under this name, in the jail of this name
    chroot "$MOVE/jail/$2" tar -x "${PACKED[@]}" -f - "$2" <"$1"
}

unpack_files() { # ARCHIVE
    unpack "$1" upper && has_usual_devices_only
}

unpack_changed() { # ARCHIVE: its images too; first removes what is gone, what is within a folder before the folder
    unpack "$1" images || return 1
    # A folder that is still there keeps what has not changed.
    [ ! -s images/gone ] || sort -z -r images/gone | chroot "$MOVE/jail/upper" xargs -0 rm -df -- 2>/dev/null
    unpack_files "$1"
}

has_usual_devices_only() { # overlayfs's marks of what was deleted (0:0), and what runc puts into every container
    local kind
    while read -r kind; do
        case $kind in c*" "0:0 | c*" "1:[35789] | c*" "5:[02]) ;; *) return 1 ;; esac
    done < <(find "$HOME_OF/upper" "(" -type b -o -type c ")" -exec stat -c "%A %t:%T" {} +)
}
