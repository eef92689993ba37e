#!/bin/sh
# A web server on loopback for scenarios/restart.yaml:  up, down, and two ways to restart it: stop-first, start-first.
set -eu
port=8742
file=${XDG_RUNTIME_DIR:-$HOME}/.whimbrel-restart.pid

serve() { # two servers may listen at once (SO_REUSEPORT), so that a new one can begin before the old one ends
    python3 -c "
import http.server as h
h.ThreadingHTTPServer.allow_reuse_port, h.ThreadingHTTPServer.request_queue_size = True, 1024
h.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1'
h.SimpleHTTPRequestHandler.log_message = lambda *_: None
h.ThreadingHTTPServer(('127.0.0.1', $port), h.SimpleHTTPRequestHandler).serve_forever()" </dev/null >/dev/null 2>&1 &
    new=$!
    inode() { readlink "/proc/$new/fd/3" 2>/dev/null | tr -dc 0-9; }
    tries=200
    until grep -q " $(inode) " /proc/net/tcp 2>/dev/null && [ -n "$(inode)" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "the web server does not start on port $port" >&2; exit 1; }
        sleep 0.05
    done
    echo "$new" >"$file"
}

old() { cat "$file" 2>/dev/null || true; }

end() { # PID: ends it and waits until it has gone
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do sleep 0.01; done
}

case ${1:-} in
up)
    end "$(old)"
    serve
    ;;
down)
    end "$(old)"
    rm -f "$file"
    ;;
stop-first)
    end "$(old)"
    serve
    ;;
start-first)
    before=$(old)
    serve
    end "$before"
    ;;
*)
    echo "usage: $0 up|down|stop-first|start-first" >&2
    exit 2
    ;;
esac
