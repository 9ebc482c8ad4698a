#!/usr/bin/env bash
# Runs the fuzz targets, and shows what came of it.
#
#   fuzz/run.sh 60                  every target for 60 seconds, one after another
#   fuzz/run.sh 3600 head utf8      these for an hour each
#   JOBS=16 fuzz/run.sh 3600        all for an hour, sixteen at once: each gets its share of the processors
#
# Needs a nightly toolchain (`rustup toolchain install nightly`) and `cargo install cargo-fuzz`. New inputs go to
# fuzz/corpus/, what breaks a law to fuzz/artifacts/; the log of each target to fuzz/target/logs/, or to $LOGS.
# Exit code 1 if a law was broken.
#
# Without a sanitizer, unless $SANITIZER names one (`address`): our code is safe Rust, whose mistakes panic, and three to six
# times as many inputs are tried in the same time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?how many seconds for each target?}
shift
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^stentor-fuzz$')
logs=${LOGS:-fuzz/target/logs} sanitizer=${SANITIZER:-none} jobs=${JOBS:-1}
mkdir -p "$logs"

# Longer inputs make every execution slower and rarely find more.
declare -A longest=([connection]=2048 [head]=4096 [frames_server]=2048 [frames_client]=2048 [inflate]=2048)

# One target; its line of the table goes to its log's neighbour. What takes too long is told apart from what merely
# shares a processor with fifteen others.
run() {
  local target=$1 log=$logs/$1.log status=0 verdict=held count rate edges cpu
  mkdir -p "fuzz/corpus/$target"
  local TIMEFORMAT='processor seconds: %U'
  { time cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" -- -max_total_time="$seconds" \
    -max_len="${longest[$target]:-1024}" -timeout=$((20 * jobs)) -report_slow_units=$((20 * jobs)) \
    -rss_limit_mb=4096 -print_final_stats=1; } >"$log" 2>&1 || status=$?
  ((status == 0)) || verdict="BROKEN, see $log"
  count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  cpu=$(sed -n 's/^processor seconds: *//p' "$log")
  edges=$(grep -ao 'cov: [0-9]*' "$log" | tail -1)
  printf '%-14s %12s runs %9s s of a processor %6s edges  %s\n' "$target" "${count:-?}" "${cpu:-?}" "${edges#cov: }" \
    "$verdict" | tee "$logs/$target.line"
}

cargo +nightly fuzz build --sanitizer "$sanitizer"
for target in "${targets[@]}"; do
  rm -f "$logs/$target.line"
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
  run "$target" &
done
wait
printf '\n----- %s s for each target, %s at once\n' "$seconds" "$jobs"
for target in "${targets[@]}"; do cat "$logs/$target.line"; done
! grep -ql BROKEN $(printf "$logs/%s.line " "${targets[@]}")
