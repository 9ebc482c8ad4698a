#!/bin/sh
# Runs the original clients of Socket.IO (npm `socket.io-client`, `engine.io-client`) against stentor, from Node and in Chromium.
#
# Usage: tests/socketio/run.sh [clients|wire|browser …]      STENTOR_BIN=path/to/stentor uses that binary instead of building one,
# ANSWERS=path/to/answers that build of docs/examples/answers.rs.
# The clients come from npm by name; a missing tool ends it with a line that says what to install.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)

die() { printf 'error: %s\n' "$1" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: apt-get install $2"; }

need node nodejs
need npm npm
if [ -z "${STENTOR_BIN:-}" ]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" --bin stentor
    STENTOR_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/stentor
fi
if [ -z "${ANSWERS:-}" ]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" --example answers
    ANSWERS=${CARGO_TARGET_DIR:-$root/target}/debug/examples/answers
fi
case $ANSWERS in
/*) ;;
*) ANSWERS=$PWD/$ANSWERS ;;
esac
case $STENTOR_BIN in
/*) ;;
*) STENTOR_BIN=$PWD/$STENTOR_BIN ;;
esac
export STENTOR_BIN ANSWERS
cd "$here"
[ -d node_modules/socket.io-client ] || npm install --no-package-lock --no-audit --no-fund --loglevel error

[ $# -gt 0 ] || set -- clients wire browser
for suite in "$@"; do
    [ -f "$suite.mjs" ] || die "no suite is called $suite: clients, wire and browser are"
    node --test "$suite.mjs"
done
