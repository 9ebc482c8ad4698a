#!/bin/sh
# enfile.sh - no descriptor left in the whole system: who is here is served, who comes waits, and is served once there are some again.
#
#   bench/guest.sh --program bench/enfile.sh -- enfile.sh
#
# It changes the limits of the machine, so it runs in a guest, under busybox. The kernel lets root pass fs.file-max: the
# server is run by somebody else, and the clients are root's. It ends with 1 if
#   - an echo of those who were there is lost, or somebody who came is served while there is nothing to serve it with;
#   - the server did not meet ENFILE, or used more than a twentieth of the processor beside 20 echoes a second;
#   - not all who came are served in the end.
set -eu
port=9001 crowd=60
say() { echo "enfile: $*"; }
fail() { echo "enfile: $*" >&2; exit 1; }
files() { cut -f 1 /proc/sys/fs/file-nr; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$server/stat"; }
metric() { wget -qO- "http://127.0.0.1:$port/metrics" | awk -v name="stentor_$1" '$1 == name { print $2 }'; }
served() { cat /tmp/answer.* 2>/dev/null | grep -c '^HTTP/1.1 200' || true; }

echo 'web:x:1000:1000::/:/bin/sh' >>/etc/passwd
most=$(cat /proc/sys/fs/file-max)
su web -c "exec stentor --listen 127.0.0.1:$port" 2>/tmp/log &
for _ in $(seq 100); do
  wget -qO- "http://127.0.0.1:$port/healthz" >/dev/null 2>&1 && break
  sleep 0.2
done
server=$(pidof stentor) || fail "$(cat /tmp/log)"
[ "$(awk '/^Uid/ { print $2 }' "/proc/$server/status")" = 1000 ] || fail 'the server runs as root'

loadgen "ws://127.0.0.1:$port/echo" -s echo -c 20 -r 20 --warmup 2s -d 25s --drain 5s --no-tui --json /tmp/echo.json \
  --threshold 'lost==0' --threshold 'reordered==0' >/tmp/echo.txt 2>&1 &
echoing=$!
for _ in $(seq 50); do
  upgraded=$(metric upgraded_total)
  [ "${upgraded:-0}" -lt 20 ] || break
  sleep 0.2
done
say "20 peers are echoed; $(files) files are open in the system, of $most; $(metric accepts_exhausted_total) accepts have failed"

files >/proc/sys/fs/file-max
say "fs.file-max is $(cat /proc/sys/fs/file-max); $crowd come"
for number in $(seq $crowd); do
  printf 'GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' | nc 127.0.0.1 $port >"/tmp/answer.$number" 2>/dev/null &
done
sleep 2
before=$(ticks)
sleep 10
burnt=$(($(ticks) - before)) meanwhile=$(served)
say "12 s later $meanwhile of them are served; the server used $burnt ticks of 10 ms in 10 s"
kill -0 $echoing || fail "the echo has ended: $(cat /tmp/echo.txt)"

echo "$most" >/proc/sys/fs/file-max
for _ in $(seq 100); do
  [ "$(served)" -lt $crowd ] || break
  sleep 0.1
done
finally=$(served) failed=$(metric accepts_exhausted_total)
say "fs.file-max is $most again: $finally are served; $failed accepts had failed"
grep -m 1 'Too many open files in system' /tmp/log || fail "its log does not name ENFILE: $(cat /tmp/log)"
wait $echoing || fail "$(cat /tmp/echo.txt)"
grep -E '^deliveries| lost ' /tmp/echo.txt
[ "$meanwhile" = 0 ] || fail 'there was something left to serve them with'
[ "$failed" -gt 0 ] || fail 'it has not met ENFILE'
[ "$burnt" -le 50 ] || fail 'it did not rest'
[ "$finally" = $crowd ] || fail 'somebody still waits'
say 'who was there was served all the while, who came was served in the end'
