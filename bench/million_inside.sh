#!/bin/sh
# million_inside.sh - the part of million.sh that runs in the guest, under busybox.
#
#   million_inside.sh RAMP CLIENTS...
#
# Once a second a line goes to /out/CLIENTS.samples: seconds since the start of this number, connections that are upgraded,
# the server's processor time in ticks of 10 ms, its resident memory and the memory that the guest has left, both in kB, pings
# sent, deliveries written. The table is made of these and of what the server says at the end of each stage.
set -eu
ramp=$1
shift
port=9001
sources=127.0.0.$(seq -s ,127.0.0. 2 61)

say() { echo "million: $*" >&2; }
seconds() { cut -d. -f1 /proc/uptime; }
stats() { wget -qO- "http://127.0.0.1:$port/stats" 2>/dev/null; }
metrics() { wget -qO- "http://127.0.0.1:$port/metrics" 2>/dev/null; }
# value_of METRIC: the value of a line of Prometheus' text on stdin.
value_of() { awk -v name="stentor_$1" '$1 == name { print $2 }'; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$server/stat"; }
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }
left() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }

sample() {
  page=$(metrics) || return 0
  echo "$(($(seconds) - began)) $(echo "$page" | value_of connections) $(ticks) $(resident) $(left)" \
    "$(echo "$page" | value_of pings_total) $(echo "$page" | value_of written_total)" >>"$samples"
}

# until_true WHAT SECONDS COMMAND...: samples once a second until the command succeeds.
until_true() {
  what=$1 limit=$(($(seconds) + $2))
  shift 2
  until "$@"; do
    [ "$(seconds)" -lt "$limit" ] || { say "$what: not within its time"; exit 1; }
    kill -0 "$generator" 2>/dev/null || [ "$what" = parting ] || { say "$what: loadgen has ended"; cat "/out/$clients.txt"; exit 1; }
    sleep 1
    sample
  done
}
connections() { metrics | value_of connections; }
are_here() { [ "$(connections)" -ge "$1" ]; }
are_told() { [ "$(metrics | value_of written_total)" -ge "$1" ]; }
are_pinged() { [ "$(metrics | value_of pings_total)" -ge "$1" ]; }
is_alone() { [ "$(connections)" -le 1 ]; }

measure() {
  clients=$1 samples=/out/$1.samples
  : >"$samples"
  # A round of pings has to be no more than the guest can do: a ping is due three quarters of an interval after its peer came, or up
  # to a quarter later. Most of those who take minutes to connect are to be here before the first of them is pinged.
  if [ "$clients" -le 200000 ]; then
    interval=$((clients / 500 + 20))
  else
    interval=$((clients / 2500 + 800))
  fi
  stay=$((interval + 30))
  stentor --listen 127.0.0.1:$port --ping-interval "${interval}s" --pong-timeout 15m --handshake-timeout 2m \
    --stall-timeout 15m --close-timeout 15m --connections-max $((clients + 1000)) 2>"/out/$clients.log" &
  server=$!
  until stats >/dev/null; do sleep 1; done
  began=$(seconds)
  sample
  free_before=$(left) rss_before=$(resident)
  # One message as soon as all are here; then they stay until each has been pinged.
  loadgen "ws://127.0.0.1:$port/broadcast" --clients "$clients" --source "$sources" --ramp "$ramp" --max-connecting 1024 \
    --connect-timeout 2m --rate "$(awk "BEGIN { print 0.9 / $stay }")" --warmup 0s \
    --duration "${stay}s" --drain 15m --no-tui --server-pid "$server" \
    --json "/out/$clients.json" >"/out/$clients.txt" 2>&1 &
  generator=$!
  until_true "connecting $clients" 1500 are_here "$clients"
  connected=$(seconds) ticks_connected=$(ticks) rss_connected=$(resident) free_connected=$(left)
  say "$clients are here after $((connected - began)) s"
  until_true "the publication" 900 are_told "$clients"
  told=$(seconds) ticks_told=$(ticks) pings_told=$(metrics | value_of pings_total)
  say "all were told something by $((told - began)) s"
  until_true "pings" $((interval + 600)) are_pinged "$clients"
  pinged=$(seconds) ticks_pinged=$(ticks) pings=$(metrics | value_of pings_total)
  say "$pings were pinged by $((pinged - began)) s"
  while kill -0 "$generator" 2>/dev/null; do
    sleep 1
    sample
  done
  wait "$generator" || say "loadgen ended with $?"
  parted=$(seconds)
  until_true "parting" 900 is_alone
  gone=$(seconds)
  say "all have gone, $((gone - parted)) s after the last word of loadgen"
  stats >"/out/$clients.stats.json"
  metrics >"/out/$clients.metrics"
  kill "$server"
  wait "$server" || true
  echo "clients=$clients connect_s=$((connected - began)) connect_ticks=$ticks_connected" \
    "rss_kb=$((rss_connected - rss_before)) used_kb=$((free_before - free_connected))" \
    "told_s=$((told - connected)) told_ticks=$((ticks_told - ticks_connected))" \
    "pinged_s=$((pinged - told)) pinged=$((pings - pings_told)) pinged_ticks=$((ticks_pinged - ticks_told))" \
    "parting_s=$((gone - parted))" | tee -a /out/summary
}

: >/out/summary
for clients in "$@"; do measure "$clients"; done
