#!/usr/bin/env bash
# Runs the fuzz targets one after another, and shows what came of it.
#
#   fuzz/run.sh 60                  every target for 60 seconds
#   fuzz/run.sh 3600 head utf8      these for an hour each
#
# Needs a nightly toolchain (`rustup toolchain install nightly`) and `cargo install cargo-fuzz`. New inputs go to
# fuzz/corpus/, what breaks a law to fuzz/artifacts/; the log of each target to fuzz/target/logs/, or to $LOGS.
# Exit code 1 if a law was broken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?how many seconds for each target?}
shift
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^stentor-fuzz$')
logs=${LOGS:-fuzz/target/logs}
mkdir -p "$logs"

# Longer inputs make every execution slower and rarely find more.
declare -A longest=([connection]=2048 [head]=4096 [frames_server]=2048 [frames_client]=2048 [inflate]=2048)
table=() broken=0
for target in "${targets[@]}"; do
  log=$logs/$target-$(date +%Y%m%dT%H%M%S).log
  mkdir -p "fuzz/corpus/$target"
  status=0
  cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len="${longest[$target]:-1024}" -timeout=20 \
    -rss_limit_mb=4096 -print_final_stats=1 >"$log" 2>&1 || status=$?
  ((status == 0)) && verdict=held || { verdict="BROKEN, see $log" broken=1; }
  count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
  table+=("$(printf '%-14s %12s runs %8s/s %6s edges  %s' "$target" "${count:-?}" "${rate:-?}" "${edges#cov: }" "$verdict")")
  echo "${table[-1]}"
done
printf '\n----- %s s for each target\n' "$seconds"
printf '%s\n' "${table[@]}"
exit "$broken"
