#!/usr/bin/env bash
# million.sh - one server process, one thread, a million peers, in a guest kernel: what does each of them cost?
#
#   bench/million.sh                    10 000 and then 1 000 000, about forty minutes; the guest is given 18 GiB and takes ten
#   bench/million.sh 10000 100000       other numbers, in this order, in one guest
#
# For each number of clients, in the same guest, a fresh server: connect all of them, publish once to all of them, wait
# until each has been pinged, let go of all at once. What came of it is printed as a table at the end and stands, with
# loadgen's reports, in target/million/ (or $OUT). The figures are the guest's: a system call costs several times more
# there, so compare rows with each other and with nothing else (docs/studies/million.md).
#
# Environment: MEMORY of the guest [18G], LIMIT of the whole in seconds [4500], RAMP of new connections a second [20k],
# INTERVAL between pings to one of more than 200 000 peers in seconds [the first are due when most have come].
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

out=${OUT:-$here/../target/million}
mkdir -p "$out"
(($#)) || set -- 10000 1000000
exec "$here/guest.sh" ${NO_BUILD:+--no-build} --memory "${MEMORY:-18G}" --timeout "${LIMIT:-4500}" --out "$out" \
  --program "$here/million_inside.sh" -- million_inside.sh "${RAMP:-20k}" "${INTERVAL:-auto}" "$@"
