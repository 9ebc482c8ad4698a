#!/usr/bin/env bash
# suspended.sh - a server that was stopped for a minute: is anybody let go for what was its own absence?
#
#   bench/suspended.sh             stopped for 60 s, 2 000 peers, the heartbeat of the defaults (a ping each 25 s, 20 s for the pong)
#   bench/suspended.sh 300 500     stopped for 300 s, 500 peers
#
# SIGSTOP is what a paused virtual machine or a laptop's lid is to a process: time goes on, and it does not notice. The peers are healthy all
# the while. They are pinged once before, and at least once again in the 60 s that are waited for afterwards, with time for the answer. It ends
# with 1 if
#   - fewer peers are there than before, or anybody was let go, for whatever reason;
#   - fewer pings were sent since than two for each peer: then nothing was shown;
#   - the server has not noticed that it was away, or loadgen lost a connection.
#
# Environment: STENTOR, LOADGEN name programs that are built already. Reports stay in target/suspended/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60} peers=${2:-2000}
. bench/server.sh suspended
serve --ping-interval 25s --pong-timeout 20s

metrics() { curl -sf "http://$address/metrics" >"$place/$1"; }
number() { awk -v name="stentor_$2" '$1 == name { print $2 }' "$place/$1"; }
# Whoever closes is not let go: so does each curl here, and a peer that did would be missing.
departed() { awk '/^stentor_departures_total/ && !/peer_closed/ { sum += $2 } END { print sum + 0 }' "$place/$1"; }
show() {
  printf 'suspended: %s: %s connections (this one among them), %s let go, %s pings sent, %s stalls\n' "$1" "$(number "$1" connections)" \
    "$(departed "$1")" "$(number "$1" pings_total)" "$(number "$1" stalls_total)"
}

"$loadgen" "ws://$address/broadcast" -s idle -c "$peers" --ramp 1k --warmup 0s -d $((30 + seconds + 60 + 10))s --drain 2s --no-tui \
  --json "$place/idle.json" >"$place/idle.txt" 2>&1 &
load=$!
jobs+=("$load")
for ((tries = 0; tries < 300; tries++)); do
  metrics before
  (($(number before connections) < peers + 1)) || break
  sleep 0.1
done
# Everybody has been pinged once.
sleep 30
metrics before
show before
(($(number before connections) == peers + 1)) || fail "not all have come: $(cat "$place/idle.txt")"

kill -STOP "$server"
sleep "$seconds"
kill -CONT "$server"
metrics at-once
show at-once
sleep 60
metrics after
show after
status=0
wait "$load" || status=$?
grep -E 'connect|failed|lost' "$place/idle.txt" || true
((status == 0)) || fail "loadgen ended with $status: $(cat "$place/idle.txt")"
(($(number after connections) == peers + 1)) || fail "somebody is missing"
(($(departed after) == 0)) || fail "somebody was let go: $(grep '^stentor_departures_total' "$place/after")"
pings=$(($(number after pings_total) - $(number before pings_total)))
((pings >= 2 * peers)) || fail "fewer pings were sent since than two for each peer: $pings"
(($(number after stalls_total) > $(number before stalls_total))) || fail "it has not noticed that it was away"
printf 'suspended: stopped for %s s, %s of %s peers are there, after %s pings more\n' "$seconds" "$(($(number after connections) - 1))" "$peers" "$pings"
