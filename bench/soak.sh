#!/usr/bin/env bash
# soak.sh - a server under steady change, for as long as you like: does anything grow?
#
#   bench/soak.sh             three minutes, as every test run does
#   bench/soak.sh 1800        half an hour
#
# 2 000 clients of a channel, of whom 5 % leave in a minute and are replaced, in every way there is to leave; 50 clients of the
# echo beside them. Every five seconds the server's memory, its descriptors and its counters are looked at. It ends with 1 if
#   - a client that stayed missed something, or an echo did;
#   - the median memory of the last third is more than 5 % and 1 MiB above that of the first;
#   - once all have gone, a descriptor is open that was not before, or the ledger does not balance.
#
# What a message and an echo took is printed for the first third and the last, and not judged: that is the machine's affair, too.
#
# Environment: STENTOR, LOADGEN name programs that are built already. Samples and reports stay in target/soak/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-180}
. bench/server.sh soak
serve

stats() { curl -sf "http://$address/stats"; }
# The connection that asks is closed when curl has ended.
descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
number() { sed -E "s/.*\"$1\":([0-9]+).*/\1/"; }

stats >/dev/null
before=$(descriptors)
"$loadgen" "ws://$address/broadcast" -s churn -c 2000 -r 5 --session exp:20m --ramp 1k --warmup 5s -d "${seconds}s" --drain 2s \
  --no-tui --json "$place/churn.json" --csv "$place/churn.csv" --threshold 'churn.lost==0' --threshold 'churn.failed==0' --threshold 'duplicate==0' \
  --threshold 'reordered==0' --server-pid "$server" >"$place/churn.txt" 2>&1 &
churn=$!
"$loadgen" "ws://$address/echo" -s echo -c 50 --rate-per-client 2 --warmup 5s -d "${seconds}s" --no-tui --json "$place/echo.json" --csv "$place/echo.csv" \
  --threshold 'lost==0' --threshold 'reordered==0' >"$place/echo.txt" 2>&1 &
echo=$!
jobs+=("$churn" "$echo")

began=$SECONDS
while kill -0 "$churn" 2>/dev/null; do
  sleep 5
  printf '%s %s %s\n' $((SECONDS - began)) "$(awk '/^VmRSS/ { print $2 }' "/proc/$server/status")" "$(descriptors)" \
    >>"$place/samples"
done
status=0
wait "$churn" || status=$?
cat "$place/churn.txt"
((status == 0)) || fail "the churn ended with $status"
wait "$echo" || { cat "$place/echo.txt"; fail "the echo ended badly"; }
grep -E '^latency|  delivery ' "$place/echo.txt"

for ((tries = 0; tries < 100; tries++)); do
  (($(stats | number connections) > 1)) || break
  sleep 0.1
done
after=$(descriptors)
last=$(stats)
owed=$(number owed_total <<<"$last") written=$(number deliveries_total <<<"$last") queued=$(number queued <<<"$last")
dropped=$(number dropped_total <<<"$last") departed=$(number departed_total <<<"$last")

# thirds COLUMN: medians of the first and the last third of a column of stdin.
thirds() {
  awk -v column="$1" '{ values[n++] = $column }
    function median(from, to,   i, j, t, m, v) {
      for (i = from; i < to; i++) v[m++] = values[i]
      for (i = 1; i < m; i++) for (j = i; j > 0 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return v[int(m / 2)]
    }
    END { print median(0, int(n / 3)), median(n - int(n / 3), n) }'
}
# The ramp is left out.
read -r first third < <(awk '$1 > 15' "$place/samples" | thirds 2)
printf 'soak: memory %s kB in the first third, %s kB in the last; descriptors %s before, %s after\n' "$first" "$third" "$before" "$after"
for kind in churn echo; do
  read -r early late < <(awk -F, '$3 == "measure" && $6 > 0 { print $9 / 1e6 }' "$place/$kind.csv" | thirds 1)
  printf 'soak: %s, p99 of a second: %s ms in the first third, %s ms in the last (medians)\n' "$kind" "$early" "$late"
done
read -r early late < <(awk '$1 > 15' "$place/samples" | thirds 3)
printf 'soak: descriptors while it ran: %s in the first third, %s in the last\n' "$early" "$late"
printf 'soak: owed %s = written %s + queued %s + dropped %s + departed %s\n' "$owed" "$written" "$queued" "$dropped" "$departed"
((after <= before)) || fail "descriptors were left open"
((owed == written + queued + dropped + departed && queued == 0)) || fail "the ledger does not balance"
((third <= first + first / 20 || third <= first + 1024)) || fail "memory has grown"
echo 'soak: nothing has grown'
