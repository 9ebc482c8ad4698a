#!/usr/bin/env bash
# guest.sh - runs a command of this project in a Linux guest whose limits are ours to set.
#
#   bench/guest.sh [OPTIONS] -- COMMAND [ARGUMENT...]
#   bench/guest.sh -- loadgen --clients 50000 --source 127.0.0.2,127.0.0.3,127.0.0.4 \
#     --ramp 5k --rate 0.2 --warmup 0s --duration 10s --drain 10s
#
# A delivery costs both sides about 50 µs together in here, so 50 000 of them take 2.5 s: more
# than one publication in three seconds is more than the guest can do. Three sources, since
# with one, connecting slows down so much past half of its ports that it takes minutes.
#
#   --memory SIZE     of the guest, as 1G or 1500M                             [1G]
#   --timeout SECS    then the guest is ended                                  [180]
#   --out DIR         a directory of yours that the guest sees as /out
#   --program FILE    a program of yours, put beside ours (repeatable)
#   --package NAME    build this package instead of stentor and loadgen (repeatable)
#   --no-build        take the programs as the last build left them
#   --prepare         fetch and build what is needed, run nothing
#   -h, --help        this text
#
# Why: fifty thousand connections in one process need fifty thousand descriptors, and most
# machines, CI above all, stop a process long before. A guest kernel has descriptors of its
# own. User-mode Linux is such a kernel that runs as an ordinary program: no root, no KVM.
#
# How: Debian's packages user-mode-linux and busybox-static are downloaded and unpacked, not
# installed (amd64; where apt knows no packages yet: apt-get update). The programs are those of
# `cargo build --release`; the libraries that they name come along. The guest's root is a
# directory of ours, its only network the loopback, its only processor one of the host's:
# numbers measured in it say whether nothing is lost, not how fast the server is.
#
# Exit: the command's own; 124 timed out; 125 something else failed before the command ended.
# Environment: GUEST_CACHE, where the packages are kept [target/guest/debian].
set -euo pipefail

readonly home=$(cd "$(dirname "$0")/.." && pwd)
readonly target=${CARGO_TARGET_DIR:-$home/target}
readonly cache=${GUEST_CACHE:-$target/guest/debian}

memory=1G limit=180 out='' build=yes prepare='' programs=() packages=()
room='' guest=''

fail() { echo "guest.sh: $*" >&2; exit 125; }

main() {
  options "$@"
  [ "$(uname -m)" = x86_64 ] || fail "Debian has user-mode Linux for amd64 only"
  kernel=$(unpacked user-mode-linux)/usr/bin/linux.uml
  busybox=$(unpacked busybox-static)/bin/busybox
  [ -z "$build" ] || build_programs
  [ -z "$prepare" ] || return 0
  trap clean EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  room=$(mktemp -d "${TMPDIR:-/tmp}/guest.XXXXXX")
  furnish
  boot
}

options() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"; exit 0 ;;
      --no-build) build=''; shift ;;
      --prepare) prepare=yes; shift ;;
      --) shift; break ;;
      --memory | --timeout | --out | --program | --package)
        [ $# -ge 2 ] || fail "$1 takes a value (--help tells)"
        case $1 in
          --memory) memory=$2 ;;
          --timeout) limit=$2 ;;
          --out) mkdir -p "$2"; out=$(cd "$2" && pwd) ;;
          --program) [ -f "$2" ] || fail "no file $2"; programs+=("$2") ;;
          --package) packages+=("$2") ;;
        esac
        shift 2 ;;
      *) fail "unknown option $1 (--help tells; the command stands behind --)" ;;
    esac
  done
  command=("$@")
  [ $# -gt 0 ] || [ -n "$prepare" ] || fail "no command (--help tells)"
  [ ${#packages[@]} -gt 0 ] || packages=(stentor loadgen)
}

# Prints where a Debian package lies unpacked. It is moved into place whole: two runs at once
# cannot see half of one.
unpacked() {
  local place=$cache/$1 work
  if [ ! -d "$place" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.fetch.XXXXXX")
    (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$1" >&2) ||
      fail "apt-get download $1 failed (apt-get update first?)"
    dpkg-deb -x "$work"/*.deb "$work/files"
    mv -T "$work/files" "$place" 2>/dev/null || [ -d "$place" ] || fail "cannot write $place"
    rm -rf "$work"
  fi
  printf '%s\n' "$place"
}

build_programs() {
  local package names=()
  for package in "${packages[@]}"; do names+=(-p "$package"); done
  cargo build --manifest-path "$home/Cargo.toml" --release --bins "${names[@]}" --target-dir "$target" >&2 ||
    fail "the build failed"
}

# The libraries that a program names, by the paths at which it will look for them, the loader among them.
libraries() { ldd "$1" 2>/dev/null | sed -nE 's/^[^/]*(\/[^ ]+) \(0x.*/\1/p'; }

# The guest's root: busybox, our programs, one script that is its init.
furnish() {
  local root=$room/root file library
  mkdir -p "$root"/{bin,dev,proc,sys,tmp,out,etc}
  cp "$busybox" "$root/bin/busybox"
  for file in "$target/release"/* ${programs[@]+"${programs[@]}"}; do
    [ -f "$file" ] && [ -x "$file" ] || continue
    ln "$file" "$root/bin/" 2>/dev/null || cp "$file" "$root/bin/"
    for library in $(libraries "$file"); do
      [ -e "$root$library" ] || install -D "$library" "$root$library"
    done
  done
  echo '127.0.0.1 localhost' >"$root/etc/hosts"
  echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
  # One word per line would lose line breaks, so the words are quoted for the guest's shell.
  printf "'%s' " "${command[@]//\'/\'\\\'\'}" >"$root/command"
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null # some kernels have done so already
mkdir -p /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
out=$(sed -n 's/.* guest_out=\([^ ]*\).*/\1/p' /proc/cmdline)
[ -z "$out" ] || mount -t hostfs -o "$out" none /out
# What is not there in a kernel is left as it is: the command will say what it lacks.
set_to() { [ ! -e "/proc/sys/$1" ] || echo "$2" >"/proc/sys/$1"; }
set_to fs/nr_open 4194304
set_to fs/file-max 4194304
set_to fs/epoll/max_user_watches 8388608
set_to net/core/somaxconn 65535
# What is sent while nobody hears waits here; a packet too many is lost, and with many of them a FIN for good.
set_to net/core/netdev_max_backlog 2097152
set_to net/ipv4/tcp_max_syn_backlog 65535
set_to net/ipv4/ip_local_port_range '1024 65535'
set_to net/ipv4/tcp_max_tw_buckets 2097152
set_to net/ipv4/tcp_max_orphans 2097152
# TCP may take nearly all memory: there is nobody else. In pages of 4 KiB.
pages=$(awk '/^MemTotal/ { print int($2 / 4 * 0.9) }' /proc/meminfo)
set_to net/ipv4/tcp_mem "$pages $pages $pages"
ip link set lo up
ulimit -n 4194304
cd /tmp
echo "guest: $(uname -r), $(ulimit -n) descriptors, $(awk '/^MemFree/ { print int($2 / 1024) }' /proc/meminfo) MiB free" >&2
sh /command </dev/null
echo $? >/status
sync
dmesg -n 1
poweroff -f
INIT
  chmod +x "$root/init"
}

boot() {
  local memory_home=/dev/shm preload='' core='' status=0
  [ -w "$memory_home" ] || memory_home=${TMPDIR:-/tmp}
  preload=$(amx_shim)
  local arguments=("mem=$memory" root=/dev/root rootfstype=hostfs "rootflags=$room/root" rw init=/init
    "uml_dir=$room" umid=guest con=null con0=null,fd:1 ssl=null quiet loglevel=1 panic=-1
    # Sized for millions of sockets: a small guest would get 8192 chains for all of them.
    thash_entries=524288)
  [ -z "$out" ] || arguments+=("guest_out=$out")
  # Every system call in the guest is a hand-over between two processes of the host. On one core that is a
  # context switch, between two an interrupt: 13 µs against 50 in a virtual machine. Which core is all one.
  core=$(taskset -cp $$ | sed 's/.*[^0-9]//')
  env TMPDIR="$memory_home" ${preload:+LD_PRELOAD="$preload"} taskset -c "$core" \
    timeout -k 5 "$limit" "$kernel" "${arguments[@]}" </dev/null >"$room/console" 2>&1 &
  guest=$!
  # The console ends its lines as terminals do.
  tail -n +1 -s 0.2 -f --pid="$guest" "$room/console" | sed -u -e 's/\r$//' -e '/^reboot: System halted$/d' || true
  wait "$guest" || status=$?
  guest=''
  [ "$status" != 124 ] && [ "$status" != 137 ] || { echo "guest.sh: timed out after $limit s" >&2; exit 124; }
  [ -s "$room/root/status" ] || fail "the guest ended before the command did (its kernel: $status)"
  exit "$(cat "$room/root/status")"
}

# Prints what must be preloaded into the kernel on a processor with AMX, if this is one.
amx_shim() {
  local source=$home/bench/guest_amx.c shim=$cache/guest_amx.so
  grep -qwm1 amx_tile /proc/cpuinfo || [ -n "${GUEST_AMX:-}" ] || return 0
  if [ ! "$shim" -nt "$source" ]; then
    "${CC:-cc}" -O2 -Wall -Wextra -shared -fPIC -o "$shim.$$" "$source" -ldl || fail "this processor has AMX: a C compiler is needed"
    mv "$shim.$$" "$shim"
  fi
  printf '%s\n' "$shim"
}

# timeout passes the signal on to the whole process group of the guest, which is its own.
clean() {
  [ -z "$guest" ] || { kill "$guest" 2>/dev/null && wait "$guest" 2>/dev/null; } || true
  [ -z "$room" ] || rm -rf "$room"
}

main "$@"
