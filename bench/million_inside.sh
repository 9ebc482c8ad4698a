#!/bin/sh
# million_inside.sh - the part of million.sh that runs in the guest, under busybox.
#
#   million_inside.sh RAMP INTERVAL CLIENTS...
#
# Once a second a line goes to /out/CLIENTS.samples: seconds since the start of this number, connections that are upgraded,
# the server's processor time in ticks of 10 ms, its resident memory and the memory that the guest has left, both in kB, pings
# sent, deliveries written. The table is made of these and of what the server says at the end of each stage.
set -eu
ramp=$1 wanted=$2
shift 2
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

# generate MESSAGES SECONDS: loadgen connects all, publishes so many within so many seconds, and lets go of all.
generate() {
  loadgen "ws://127.0.0.1:$port/broadcast" --clients "$clients" --source "$sources" --ramp "$ramp" --max-connecting 1024 \
    --connect-timeout 2m --rate "$(awk "BEGIN { print ($1 - 0.1) / $2 }")" --warmup 0s \
    --duration "$2s" --drain 15m --no-tui --server-pid "$server" \
    --json "/out/$clients.json" >"/out/$clients.txt" 2>&1 &
  generator=$!
}
connect() {
  ticks_before=$(ticks) seconds_before=$(seconds)
  until_true "connecting $clients" 1500 are_here "$clients"
  ticks_connected=$(ticks)
  connect_s=$(($(seconds) - seconds_before)) connect_ticks=$((ticks_connected - ticks_before))
  say "$clients are here after $connect_s s"
}
tell() {
  until_true "the publication" 900 are_told $((clients * $1))
  told_ticks=$(($(ticks) - ticks_connected)) told=$((clients * $1))
  say "all were told something by $(($(seconds) - began)) s"
}
part() {
  while kill -0 "$generator" 2>/dev/null; do
    sleep 1
    sample
  done
  wait "$generator" || say "loadgen ended with $?"
  until_true "parting" 900 is_alone
}
# each TICKS COUNT: microseconds.
each() { awk "BEGIN { printf \"%.1f\", $1 * 10000 / $2 }"; }

measure() {
  clients=$1 samples=/out/$1.samples
  : >"$samples"
  # A ping is due three quarters of an interval after its peer came, or up to a quarter later; a round has to be no more than the
  # guest can do. Most of those who take minutes to connect are to be here before the first of them is pinged.
  interval=$((clients / 500 + 40))
  if [ "$clients" -gt 200000 ]; then
    interval=$((clients / 2500 + 800))
    [ "$wanted" = auto ] || interval=$wanted
  fi
  stentor --listen 127.0.0.1:$port --ping-interval "${interval}s" --pong-timeout 15m --handshake-timeout 2m \
    --stall-timeout 15m --close-timeout 15m --connections-max $((clients + 1000)) 2>"/out/$clients.log" &
  server=$!
  until stats >/dev/null; do sleep 1; done
  began=$(seconds)
  sample
  free_before=$(left) rss_before=$(resident)
  # A tick is 10 ms: few peers are told something several times, each when all have the last, and come again to be pinged.
  messages=$((100000 / clients))
  if [ "$messages" -gt 1 ]; then
    generate "$messages" 20
    connect
    rss_connected=$(resident) free_connected=$(left)
    tell "$messages"
    part
    generate 1 $((interval + 30))
    until_true "connecting $clients again" 1500 are_here "$clients"
    until_true "the publication" 900 are_told $((told + clients))
  else
    generate 1 $((interval + 30))
    connect
    rss_connected=$(resident) free_connected=$(left)
    tell 1
  fi
  ticks_told=$(ticks) seconds_told=$(seconds) pings_told=$(metrics | value_of pings_total)
  until_true "pings" $((interval + 600)) are_pinged "$clients"
  ticks_pinged=$(ticks) seconds_pinged=$(seconds) pinged=$(($(metrics | value_of pings_total) - pings_told))
  say "all were pinged by $((seconds_pinged - began)) s"
  part
  say "all have gone by $(($(seconds) - began)) s"
  stats >"/out/$clients.stats.json"
  metrics >"/out/$clients.metrics"
  kill "$server"
  wait "$server" || true
  echo "clients=$clients connect_s=$connect_s connect_us_each=$(each "$connect_ticks" "$clients")" \
    "ours_bytes_each=$(((rss_connected - rss_before) * 1024 / clients))" \
    "all_bytes_each=$(awk "BEGIN { print int(($free_before - $free_connected) * 1024 / $clients) }")" \
    "told=$told told_us_each=$(each "$told_ticks" "$told")" \
    "pinged=$pinged pinged_s=$((seconds_pinged - seconds_told)) pinged_us_each=$(each $((ticks_pinged - ticks_told)) "$pinged")" \
    | tee -a /out/summary
}

: >/out/summary
for clients in "$@"; do measure "$clients"; done
