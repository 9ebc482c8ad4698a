#!/usr/bin/env bash
# Runs the Autobahn suite: `run.sh server` against stentor's /echo, `run.sh client` against loadgen's client side.
#
#   run.sh server          all cases but those of compression, and 84 of these: what every run of tests/all.sh does
#   run.sh server --all    all 517 cases: for the night (tests/all.sh nightly)
#
# Which 84, and why: cases.py.
# The suite runs on Python 2.7 only. It is installed by name into target/autobahn, from tests/autobahn/requirements.txt;
# python3 makes that environment, since its virtualenv still can. STENTOR and CLIENT name programs built already
# (otherwise they are built here); AGENT_URL tests another server instead of stentor.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
exec </dev/null
place=$PWD/target/autobahn
jobs=()

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# Nothing that was started here outlives the script.
end_jobs() {
  local job
  for job in "${jobs[@]}"; do kill "$job" 2>/dev/null || true; done
}
trap end_jobs EXIT

find_python2() {
  local candidate
  for candidate in "$(command -v python2.7 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
    # A shim of pyenv is there even when its version is not chosen: only one that runs counts.
    if [[ -n $candidate ]] && "$candidate" -c 'import ssl, zlib' >/dev/null 2>&1; then
      "$candidate" -c 'import sys; sys.stdout.write(sys.executable)'
      return
    fi
  done
  cat >&2 <<'SAY'
error: the Autobahn suite needs Python 2.7, which Debian no longer packages. To build one:
  apt-get install -y git curl make gcc libc6-dev libssl-dev zlib1g-dev libffi-dev libbz2-dev libreadline-dev libsqlite3-dev
  git clone https://github.com/pyenv/pyenv ~/.pyenv
  ~/.pyenv/bin/pyenv install 2.7.18
SAY
  return 1
}

install_suite() {
  local python2 stamp
  stamp=$(cksum <"$here/requirements.txt")
  [[ -x $place/suite/bin/wstest && $(cat "$place/stamp" 2>/dev/null) == "$stamp" ]] && return
  python2=$(find_python2) || exit 1
  echo "installing the suite for $python2"
  rm -rf "$place/maker" "$place/suite"
  mkdir -p "$place"
  python3 -m venv "$place/maker"
  # The last virtualenv that makes environments for Python 2.7.
  "$place/maker/bin/pip" install --quiet 'virtualenv==20.21.1'
  "$place/maker/bin/virtualenv" --quiet --python "$python2" "$place/suite"
  "$place/suite/bin/pip" install --quiet --requirement "$here/requirements.txt" 2>&1 | grep -v DEPRECATION || true
  "$place/suite/bin/python" -c 'import autobahntestsuite' || fail "the suite is installed, but does not import"
  printf '%s' "$stamp" >"$place/stamp"
}

# The lists of cases that run beside one another, into PARTS.
choose_parts() {
  local lists
  lists=$(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here python3 -c \
    'import cases, sys; print("\n".join(cases.parts(sys.argv[1] == "--all")))' "$extent")
  mapfile -t PARTS <<<"$lists"
}

# spec MODE URL OUTDIR CASES: the suite's own settings file.
spec() {
  python3 - "$@" <<'PY'
import json, sys
mode, url, outdir, cases = sys.argv[1:]
spec = {"outdir": outdir, "cases": cases.split(), "exclude-cases": [], "exclude-agent-cases": {}}
if mode == "fuzzingclient":
    spec["servers"] = [{"agent": "stentor", "url": url}]
else:
    spec["url"] = url
print(json.dumps(spec))
PY
}

start_stentor() {
  local program=${STENTOR:-target/release/stentor} log=$place/stentor.log
  [[ -n ${STENTOR:-} ]] || cargo build --release --bin stentor
  # The limits that the suite's largest cases need: 16 MiB in one message, 65 537 fragments.
  : >"$log" # there before it is first looked at
  "$program" --listen 127.0.0.1:0 --message-max 16mi --fragments-max 65537 \
    --deflate "${DEFLATE:-context}" --deflate-min 0 >"$log" 2>&1 &
  jobs+=($!)
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    url=$(sed -nE 's/.*listening on (127\.0\.0\.1:[0-9]+).*/ws:\/\/\1\/echo/p' "$log" | head -n 1)
    [[ -n $url ]] && return
    kill -0 "${jobs[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  fail "stentor does not say where it listens"
}

test_server() {
  local url=${AGENT_URL:-} part=0 cases status=0 job
  local -a reports=() parts=()
  [[ -n $url ]] || start_stentor
  rm -rf "$place/server"
  for cases in "${PARTS[@]}"; do
    part=$((part + 1))
    mkdir -p "$place/server/$part"
    spec fuzzingclient "$url" "$place/server/$part" "$cases" >"$place/server/$part.json"
    "$place/suite/bin/wstest" -m fuzzingclient -s "$place/server/$part.json" >"$place/server/$part.log" 2>&1 &
    parts+=($!)
    jobs+=($!)
    reports+=("$place/server/$part")
  done
  for job in "${parts[@]}"; do wait "$job" || status=$?; done
  ((status == 0)) || tail -n 20 "$place"/server/*.log
  python3 "$here/check.py" "$extent" "${reports[@]}"
}

test_client() {
  local program=${CLIENT:-target/debug/examples/autobahn} port tries part=0 cases status=0 client
  local -a reports=() clients=()
  [[ -n ${CLIENT:-} ]] || cargo build -p loadgen --example autobahn
  rm -rf "$place/client"
  for cases in "${PARTS[@]}"; do
    part=$((part + 1))
    mkdir -p "$place/client/$part"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    spec fuzzingserver "ws://127.0.0.1:$port" "$place/client/$part" "$cases" >"$place/client/$part.json"
    # --webport 0: no web server of its own beside it.
    "$place/suite/bin/wstest" -m fuzzingserver --webport 0 -s "$place/client/$part.json" \
      >"$place/client/$part.log" 2>&1 &
    jobs+=($!)
    for ((tries = 0; tries < 100; tries++)); do
      (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
      sleep 0.1
    done
    "$program" "127.0.0.1:$port" >"$place/client/$part.out" 2>&1 &
    clients+=($!)
    jobs+=($!)
    reports+=("$place/client/$part")
  done
  for client in "${clients[@]}"; do wait "$client" || status=$?; done
  ((status == 0)) || tail -n 20 "$place"/client/*.out
  python3 "$here/check.py" "$extent" "${reports[@]}"
}

extent=${2:---some}
[[ $extent == --some || $extent == --all ]] || fail "usage: run.sh server|client [--all]"
choose_parts
case ${1:-} in
  server) install_suite && test_server ;;
  client) install_suite && test_client ;;
  *) fail "usage: run.sh server|client [--all]" ;;
esac
