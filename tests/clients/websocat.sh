#!/bin/sh
# `websocat` against stentor, in the pipes of a shell.
#
# Why: it is how people try out a server; the README does so.
#
# Usage: tests/clients/websocat.sh PATH-OF-STENTOR      `websocat` is found in PATH.
set -eu

work=$(mktemp -d)
server=
listener=
# However it ends, what it has started ends as well.
stop() {
    for pid in $listener $server; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM
die() { printf 'error: %s\n' "$1" >&2; exit 1; }

# wait_for WHAT COMMAND…: asks until the command succeeds, for 15 seconds at most.
wait_for() {
    what=$1 tries=0
    shift
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || die "waited in vain for $what"
        sleep 0.1
    done
}

# is WHAT WANTED: compares what the last pipe has printed.
is() {
    [ "$(cat "$work/out")" = "$2" ] || die "$1: not \`$2\` but \`$(cat "$work/out")\`"
    printf 'ok    websocat: %s\n' "$1"
}

"$1" --listen 127.0.0.1:0 2>"$work/log" &
server=$!
wait_for 'a server that listens' grep -q 'listening on 127' "$work/log"
port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/log")
url=ws://127.0.0.1:$port

printf 'hello\n' | websocat -n1 "$url/echo" >"$work/out"
is 'a line comes back' 'hello'

seq 1000 >"$work/in"
# The end of what is said does not cut off what is heard: its farewell is answered behind the last line.
websocat "$url/echo" <"$work/in" >"$work/out"
is 'a thousand lines come back, in their order' "$(cat "$work/in")"

printf 'Grüße\n' | websocat -n1 "$url/echo?prefix=ECHO:" >"$work/out"
is 'ECHO: before a text' 'ECHO:Grüße'

printf 'a\377\376b' | websocat -bn1 "$url/echo?prefix=ECHO:" >"$work/out"
is 'ECHO: before bytes that are not UTF-8' "$(printf 'ECHO:a\357\277\275\357\277\275b')"

head -c 40000 /dev/urandom >"$work/bytes"
websocat -bn1 -B 65536 "$url/echo" <"$work/bytes" >"$work/out"
cmp "$work/bytes" "$work/out" || die 'bytes come back as they were'
printf 'ok    websocat: %s\n' 'bytes come back as they were'

# The README's own example: one listens, another publishes by HTTP.
websocat -n "$url/broadcast/sea" </dev/null >"$work/sea" &
listener=$!
heard() { curl -sS -d 'hello' -H 'Content-Type: text/plain' "http://127.0.0.1:$port/publish/sea" | grep -q '"subscribers":1'; }
wait_for 'a listener' heard
wait_for 'the message' test -s "$work/sea"
head -n 1 "$work/sea" >"$work/out"
is 'hears what curl publishes' 'hello'

printf 'ahoy\n' | websocat "$url/broadcast/sea" >"$work/out"
wait_for 'what another websocat said' grep -q ahoy "$work/sea"
printf 'ok    websocat: %s\n' 'hears what another websocat says'

printf 'good evening\n' | websocat "$url/chat?name=ann" >"$work/out"
is 'chats' '{"type":"enter","data":"ann comes in"}
{"type":"message","data":"ann:good evening\n"}'

if websocat -n1 "$url/nowhere" </dev/null >"$work/out" 2>&1; then die 'a refusal is an error'; fi
grep -q '404' "$work/out" || die "a refusal says why: $(cat "$work/out")"
printf 'ok    websocat: %s\n' 'a refusal is an error with its status'
