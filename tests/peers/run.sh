#!/bin/sh
# Runs loadgen against servers by others (npm `ws` and `socket.io`, Python `websockets`) and asserts what it reports.
#
# Why: loadgen claims to measure any WebSocket server, and any of Socket.IO. Each run is short; what is asserted is completeness and the
# rules of the verdict that speak of data, never a speed.
#
# Usage: tests/peers/run.sh [ws|websockets|socketio …]      LOADGEN=path/to/loadgen uses that binary instead of building one.
# Everything is installed below target/peers; a missing tool ends it with a line that says what to install.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/peers
mkdir -p "$work"
server=

die() { printf 'error: %s\n' "$1" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: apt-get install $2"; }
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; server=; }
trap stop EXIT
trap 'exit 130' INT TERM

need python3 python3
if [ -z "${LOADGEN:-}" ]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" -p loadgen
    LOADGEN=${CARGO_TARGET_DIR:-$root/target}/debug/loadgen
fi

# Starts a server and sets $port from the first line it prints.
start() {
    rm -f "$work/port"
    "$@" >"$work/port" 2>"$work/server.log" &
    server=$!
    tries=0
    until [ -s "$work/port" ]; do
        kill -0 "$server" 2>/dev/null || die "$1 ended: $(cat "$work/server.log")"
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die "$1 did not say its port in 20 s"
        sleep 0.1
    done
    port=$(head -n 1 "$work/port")
}

# measure NAME PATH FLAGS…: one run, then its JSON is judged. $scheme is ws unless it is set.
measure() {
    name=$1 path=$2
    shift 2
    "$LOADGEN" "$@" --warmup 500ms --duration 2s --drain 3s --no-tui -q --server-pid "$server" --label "$name" \
        --json "$work/report.json" "${scheme:-ws}://${host:-127.0.0.1}:$port$path" >"$work/summary.txt" || die "$name: loadgen ended with $?"
    python3 - "$work/report.json" "$name" <<'PYTHON' || die "$name: the report is not what it must be"
import json, sys

report, name = json.load(open(sys.argv[1])), sys.argv[2]
connect, messages, deliveries = report["connect"], report["messages"], report["deliveries"]
problems = []


def check(what, holds):
    if not holds:
        problems.append(what)


check("schema", report["schema"] == "loadgen/1")
# A busy machine may make a run late, and the verdict then says so; what came and what did not must be right anyway.
speed = {"schedule_kept", "send_lag", "generator_cpu", "loop_lag", "late"}
check("verdict", {reason["check"] for reason in report["reasons"]} <= speed)
check(f"connect {connect}", connect["connected"] == connect["requested"] and connect["failed"] == 0)
check("no connection dropped", connect["dropped"] == 0)
check("the server was sampled", report["server"] is not None and report["server"]["rss_bytes"] > 0)
if report["plan"]["scenario"] in ("broadcast", "echo"):
    subscribers = report["plan"]["clients"] if report["plan"]["scenario"] == "broadcast" else 1
    check(f"messages {messages}", messages["sent"] > 0 and messages["unsent"] == 0)
    check(f"expected {deliveries}", deliveries["expected"] == messages["sent"] * subscribers)
    check(f"received {deliveries}", deliveries["received"] == deliveries["expected"])
    for key in ("lost", "duplicate", "reordered", "corrupt", "unexpected"):
        check(f"{key} {deliveries[key]}", deliveries[key] == 0)
    check("latencies", report["latency"]["delivery_ns"]["count"] == deliveries["received"])
for problem in problems:
    print(f"  {name}: {problem}", file=sys.stderr)
if problems:
    print(json.dumps(report["reasons"], indent=1), file=sys.stderr)
sys.exit(1 if problems else 0)
PYTHON
    printf 'ok    %s\n' "$name"
}

all_runs() {
    measure "$1: echo, binary" /echo -s echo -c 50 --rate-per-client 5
    measure "$1: echo, text" /echo -s echo -c 50 --rate-per-client 5 --text --fill text
    measure "$1: echo, closed" /echo -s echo -c 10 --closed --inflight 4 --think 10ms
    measure "$1: broadcast, binary" /broadcast -c 100 -r 20
    measure "$1: broadcast, JSON text, three publishers" /broadcast -c 50 -r 30 --publishers 3 --text --fill json
    measure "$1: broadcast, 64 KiB payloads" /broadcast -c 20 -r 10 --size 64ki
    measure "$1: idle" /echo -s idle -c 200
    measure "$1: connect" /echo -s connect -c 200 --ramp 1k
}

run_ws() {
    need node nodejs
    need npm npm
    mkdir -p "$work/ws"
    cp "$here/package.json" "$here/server.mjs" "$here/wss.mjs" "$work/ws/"
    [ -d "$work/ws/node_modules/ws" ] || npm install --prefix "$work/ws" --no-audit --no-fund --silent
    start node "$work/ws/server.mjs"
    all_runs ws
    stop

    # Over TLS: loadgen as the client of Node's server, and then `ws` as the client of stentor.
    start node "$work/ws/server.mjs" "$root/tests/tls/keys/ec.pem" "$root/tests/tls/keys/ec-sec1.key"
    scheme=wss host=localhost
    set -- --cacert "$root/tests/tls/keys/ec.pem"
    measure "ws: wss, echo" /echo -s echo -c 30 --rate-per-client 5 "$@"
    measure "ws: wss, broadcast, 64 KiB payloads" /broadcast -c 20 -r 10 --size 64ki "$@"
    measure "ws: wss, connect" /echo -s connect -c 100 --ramp 1k "$@"
    scheme='' host=''
    stop
    if [ -z "${STENTOR_BIN:-}" ]; then
        cargo build --quiet --manifest-path "$root/Cargo.toml" --bin stentor
        STENTOR_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/stentor
    fi
    node "$work/ws/wss.mjs" "$STENTOR_BIN" || die "ws: the client over wss ended with $?"
}

run_websockets() {
    if [ ! -x "$work/venv/bin/pip" ]; then
        python3 -m venv "$work/venv" || die "python3 cannot make a venv: apt-get install python3-venv"
    fi
    "$work/venv/bin/python" -c 'import websockets.asyncio.server' 2>/dev/null ||
        "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    start "$work/venv/bin/python" "$here/server.py"
    all_runs websockets
    stop
}

run_socketio() {
    need node nodejs
    need npm npm
    mkdir -p "$work/socketio"
    cp "$here/socketio/package.json" "$here/socketio/server.mjs" "$work/socketio/"
    [ -d "$work/socketio/node_modules/socket.io" ] || npm install --prefix "$work/socketio" --no-audit --no-fund --silent
    start node "$work/socketio/server.mjs"
    measure "socket.io: broadcast" "" --protocol socketio -c 100 -r 20
    measure "socket.io: broadcast in a room, three publishers" "" --protocol socketio --room sea -c 50 -r 30 --publishers 3
    measure "socket.io: idle" "" --protocol socketio -s idle -c 100
    measure "socket.io: connect" "" --protocol socketio -s connect -c 100 --ramp 1k
    stop
}

[ $# -gt 0 ] || set -- ws websockets socketio
for peer in "$@"; do
    case $peer in
    ws) run_ws ;;
    websockets) run_websockets ;;
    socketio) run_socketio ;;
    *) die "no peer is called $peer: ws, websockets and socketio are" ;;
    esac
done
