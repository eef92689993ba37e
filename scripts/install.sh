# Sourced by ./whimbrel and ./check: installs what is missing, says so, and does nothing when nothing is.
# Wants $here (the project's folder) and $me (the command's name). POSIX shell: it must run on a bare Debian.
# shellcheck shell=sh
: "${here:?}" "${me:?}"

say() { printf '%s: %s\n' "$me" "$*" >&2; }
fail() { say "$1"; exit "$2"; }

keep_compiled() { # what Python has compiled stays out of the project, where nobody but the caller may write
    if [ "$(id -u)" -eq 0 ]; then
        PYTHONPYCACHEPREFIX=/var/cache/whimbrel/compiled
    elif [ -n "${HOME:-}" ]; then
        PYTHONPYCACHEPREFIX=${XDG_CACHE_HOME:-$HOME/.cache}/whimbrel/compiled
    else
        export PYTHONDONTWRITEBYTECODE=1
        return 0
    fi
    export PYTHONPYCACHEPREFIX
    # Without it Python compiles anew, in memory, each time: no reason to stop.
    (umask 077 && mkdir -p "$PYTHONPYCACHEPREFIX" 2>/dev/null) || true
}

missing_packages() { # PACKAGE...: those of them that are not installed
    for package in "$@"; do
        state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || state=absent
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

need_packages() { # PACKAGE...
    command -v dpkg-query >/dev/null || fail "this is no Debian: packages cannot be installed" 3
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    [ "$(id -u)" -eq 0 ] || fail "Debian packages are missing: ${missing% }. Run this once with sudo, or: sudo apt-get install ${missing% }" 3
    say "installing Debian packages: ${missing% }"
    log=$(mktemp)
    # shellcheck disable=SC2086 # names of packages, each a word
    if ! install_packages $missing >"$log" 2>&1; then
        fail "the Debian packages could not be installed: is the network there? Run the command again (what apt said: $log)" 3
    fi
    rm -f "$log"
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    # An earlier installation may have been interrupted.
    dpkg --configure -a
    apt-get -o Acquire::Retries=1 update && apt-get -o Acquire::Retries=1 install -y --no-install-recommends "$@"
}

asked_for() { # PATTERN WORD...: whether a word, a file or the campaign in a folder that it names has the pattern in it
    asks=$1
    shift
    for word in "$@"; do
        if printf '%s\n' "$word" | grep -Eq "$asks" || { [ -f "$word" ] && grep -Eq "$asks" "$word"; } ||
            { [ -f "$word/campaign.json" ] && grep -Eq "$asks" "$word/campaign.json"; }; then
            return 0
        fi
    done
    return 1
}

packages_asked_for() { # WORD...: what viewers of VLC need, and what a cloud image does, where there are any
    ! asked_for 'vlc_viewers"?: *([[].*[1-9].*[]]|[1-9])' "$@" || printf '%s\n' vlc-bin vlc-plugin-base
    ! asked_for 'disk"?: *"?[^ "]+\.(qcow2|img|raw)' "$@" || printf '%s\n' genisoimage
}

wanted() { /usr/bin/python3 -c 'import sys; print(sys.version)'; cat "$here/requirements.lock" "$here/requirements-watch.txt"; }

stamped() { # STAMP: whether the virtual environment is as it says
    [ -f "$here/.venv/$1" ] && [ "$(cat "$here/.venv/$1")" = "$(wanted | sha256sum)" ]
}

# shellcheck disable=SC2120 # ./check asks for all of it
need_venv() { # [watch]: the virtual environment, from requirements.lock; for watch only what that needs, which takes half the time
    if stamped .complete || { [ "${1:-}" = watch ] && stamped .watch; }; then return 0; fi
    if [ ! -w "$here" ] || { [ -e "$here/.venv" ] && [ ! -w "$here/.venv" ]; }; then
        fail "the virtual environment is missing or old, and cannot be written: run this once with sudo" 3
    fi
    if stamped .watch; then
        say "installing the Python packages that 'watch' could do without"
    else
        say "making a virtual environment in $here/.venv (about a minute)"
        # Written last, the stamp says that nothing was interrupted; without it everything is made anew.
        rm -rf "$here/.venv"
        /usr/bin/python3 -m venv "$here/.venv" || fail "python3 could not make a virtual environment" 3
    fi
    if [ "${1:-}" = watch ]; then
        for_watch >"$here/.venv/watch.lock"
        pip_install -r "$here/.venv/watch.lock"
        wanted | sha256sum >"$here/.venv/.watch"
    else
        pip_install -r "$here/requirements.lock"
        wanted | sha256sum >"$here/.venv/.complete"
    fi
}

for_watch() { # of requirements.lock, the packages that requirements-watch.txt names
    awk 'NR == FNR { named[$0]; next } /^[^ ]/ { split($0, parts, "=="); wanted = parts[1] in named } wanted' \
        "$here/requirements-watch.txt" "$here/requirements.lock"
}

need_venv_beside() { # COMMAND...: the virtual environment, while the command installs packages: half of either is waiting
    "$@" &
    packages=$!
    # Whatever becomes of the environment: dpkg is not left behind at work.
    trap 'wait "$packages"' EXIT
    need_venv all
    trap - EXIT
    wait "$packages" || exit
}

need_libvirt_python() { # built against this machine's libvirt, so not in requirements.lock
    stamp=$here/.venv/.libvirt
    if [ -f "$stamp" ] && cmp -s "$stamp" "$here/requirements-libvirt.lock"; then return 0; fi
    say "building libvirt-python"
    pip_install --no-build-isolation -r "$here/requirements-libvirt.lock"
    cp "$here/requirements-libvirt.lock" "$stamp"
}

pip_install() {
    log=$(mktemp)
    if ! "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@" >"$log" 2>&1; then
        fail "the Python packages could not be installed: is the network there? Run the command again (what pip said: $log)" 3
    fi
    rm -f "$log"
}

one_at_a_time() { # waits for another installation in this folder; a folder that is not ours needs no installing by us
    if command -v flock >/dev/null && ( : >>"$here/.install.lock" ) 2>/dev/null; then
        exec 9>>"$here/.install.lock"
        flock 9
    fi
}

done_installing() { exec 9>&-; }

need_base_packages() { # everything a command without a lab needs
    need_packages python3 python3-venv ca-certificates
}

need_lab_packages() { # [PACKAGE...]: these, and what a lab needs besides: images, namespaces and links, and libvirt-python's compiler
    need_packages mmdebstrap openssl e2fsprogs iproute2 nftables util-linux gcc libc6-dev python3-dev pkg-config libvirt-dev "$@"
}
