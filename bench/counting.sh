#!/usr/bin/env bash
# counting.sh - what the ledger and the metrics cost: the server against a build of itself that counts nothing.
#
#   bench/counting.sh            ten rounds of each, three minutes
#   bench/counting.sh 20         twenty
#
# Both take turns in one run of `bench`, with server and driver on a core each. Stentor's column against `uncounted` is the answer.
# More flags of `bench run` may stand behind the number.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-10}
(($# == 0)) || shift
cargo build --release --locked -p stentor -p bench --bins
RUSTFLAGS="${RUSTFLAGS:-} --cfg uncounted" CARGO_TARGET_DIR=target/uncounted cargo build --release --locked -p stentor --bin stentor
# The same settings that `bench` gives the server.
settings="--listen 127.0.0.1:0 --ping-interval 0 --queue-max 64mi --message-max 2mi"
exec "${CARGO_TARGET_DIR:-target}/release/bench" run --servers stentor --with "uncounted=target/uncounted/release/stentor $settings" \
  --only fanout,echo --clients 10000 --rounds "$rounds" --seconds 1 "$@"
