# server.sh - a server of our own for an experiment, and the end of all that it started. To be sourced: `. bench/server.sh NAME`.
#
# It gives $stentor and $loadgen (what STENTOR and LOADGEN name, or what is built; built if it is not there), an empty directory $place,
# `fail WORDS`, and `serve FLAGS`, which sets $server (its process) and $address. Whatever stands in the array `jobs` is ended with us.
experiment=$1
stentor=${STENTOR:-target/release/stentor} loadgen=${LOADGEN:-target/release/loadgen}
[[ -x $stentor && -x $loadgen ]] || cargo build --release -p stentor -p loadgen --bins
place=target/$experiment
rm -rf "$place"
mkdir -p "$place"
jobs=()
# What was stopped would not hear that it is to end.
end() { for job in "${jobs[@]}"; do kill "$job" 2>/dev/null && kill -CONT "$job" 2>/dev/null || true; done; }
trap end EXIT
fail() {
  printf '%s: %s\n' "$experiment" "$1" >&2
  exit 1
}

serve() {
  "$stentor" --listen 127.0.0.1:0 "$@" 2>"$place/log" &
  server=$!
  jobs+=("$server")
  address=
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    address=$(sed -nE 's/.*listening on ([0-9.]+:[0-9]+).*/\1/p' "$place/log" | head -n 1)
    [[ -z $address ]] || return 0
    sleep 0.1
  done
  fail "the server does not say where it listens: $(cat "$place/log")"
}
