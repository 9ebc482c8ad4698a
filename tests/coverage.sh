#!/usr/bin/env bash
# How much of the two protocols the tests run: lines of src/ws/ and src/http/, file by file, tests themselves left out.
#
#   tests/coverage.sh            the table; exit code 1 if less than 95 % of all lines are covered
#   tests/coverage.sh --missing  also which lines are not
#
# Counted are the unit and property tests, the corpus of the fuzzer and the comparison with tungstenite: all that needs
# no socket. Needs cargo-llvm-cov and LLVM's own tools: those of the toolchain (`rustup component add llvm-tools`), or
# llvm-cov and llvm-profdata 19 or later. `tests/all.sh coverage` installs what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
least=95

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

command -v cargo-llvm-cov >/dev/null || fail "cargo-llvm-cov is missing: cargo install --locked cargo-llvm-cov"
if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-cov" >/dev/null && [[ -z ${LLVM_COV:-} ]]; then
  for version in 22 21 20 19; do
    if command -v "llvm-cov-$version" >/dev/null && command -v "llvm-profdata-$version" >/dev/null; then
      LLVM_COV=$(command -v "llvm-cov-$version") LLVM_PROFDATA=$(command -v "llvm-profdata-$version")
      export LLVM_COV LLVM_PROFDATA
      break
    fi
  done
  [[ -n ${LLVM_COV:-} ]] || fail "neither the toolchain's llvm-tools are there nor llvm-cov-19: apt-get install llvm-19"
fi

lcov=${CARGO_TARGET_DIR:-target}/coverage.lcov
mkdir -p "$(dirname "$lcov")"
cargo llvm-cov --locked -p stentor --all-features --lib --test corpus --test differential \
  --lcov --output-path "$lcov"

# SF names a file, DA:LINE,COUNT a line that can run. A module of tests at the end of a file is not counted.
awk -v least="$least" -v missing="${1:-}" '
  function begin_of_tests(file,    line, number, attribute, found) {
    number = attribute = found = 0
    while ((getline line < file) > 0) {
      number++
      if (line ~ /^#\[cfg\(test\)\]/) attribute = number
      else if (attribute == number - 1 && line ~ /^mod [a-z_]+ \{/) found = attribute
    }
    close(file)
    return found ? found : number + 1
  }
  /^SF:/ {
    path = substr($0, 4)
    inside = path ~ /\/src\/(ws|http)\// && path !~ /\/tests\//
    name = path
    sub(/.*\/src\//, "src/", name)
    end = inside ? begin_of_tests(path) : 0
  }
  /^DA:/ && inside {
    split(substr($0, 4), part, ",")
    if (part[1] + 0 >= end) next
    lines[name]++
    if (part[2] + 0 > 0) hit[name]++
    else gaps[name] = gaps[name] " " part[1]
  }
  END {
    for (name in lines) {
      all += lines[name]; run += hit[name]
      printf "%-34s %5d of %5d  %6.2f %%%s\n", name, hit[name], lines[name], 100 * hit[name] / lines[name],
        missing == "" || gaps[name] == "" ? "" : "   not:" gaps[name] | "sort"
    }
    close("sort")
    if (!all) { print "error: nothing was counted"; exit 1 }
    printf "%-34s %5d of %5d  %6.2f %%, wanted %d %%\n", "src/ws and src/http", run, all, 100 * run / all, least
    exit 100 * run / all < least
  }' "$lcov"
