#!/usr/bin/env bash
# Durable ingest against a broker that keeps nothing, in one run on one machine: mosquitto without persistence (A) and
# `smallbrain run` (B), the same load on each, alternating A B A B. Only the ratio of one run means anything.
#
#   cargo build --release && benches/compare.sh
#   ROUNDS=3 RUN_SECONDS=20 CONNECTIONS=500 WINDOW=4 benches/compare.sh
#   ONLY=mosquitto SMALLBRAIN=/path/to/smallbrain benches/compare.sh
#
# Needs mosquitto. Every server is new for its turn, with an empty store on the disk of WORK (default: target/); what the
# script starts it ends, by process id.
#   acked/s          QoS 1 publishes acknowledged a second
#   CPU-s/M          processor seconds of the server for a million of them (/proc/PID/stat), and of the generator
#   disk B, wchar B  bytes for each that the server sent to the disk (write_bytes) and to files and sockets (wchar),
#                    /proc/PID/io
#   peak MiB         resident memory at its highest (VmHWM)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
smallbrain=${SMALLBRAIN:-$root/target/release/smallbrain}
connections=${CONNECTIONS:-50}
window=${WINDOW:-16}
size=${SIZE:-150}
seconds=${RUN_SECONDS:-10}
rounds=${ROUNDS:-2}
only=${ONLY:-}

mkdir -p "${WORK:-$root/target}"
work=$(mktemp -d "${WORK:-$root/target}/compare.XXXXXX")
server=
end() {
    [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    server=
}
trap 'end; rm -rf "$work"' EXIT

command -v mosquitto >/dev/null || { echo "compare.sh: mosquitto is not installed: apt-get install mosquitto" >&2; exit 2; }
[[ -x $smallbrain ]] || { echo "compare.sh: no $smallbrain: cargo build --release" >&2; exit 2; }
case $only in '' | mosquitto | smallbrain) ;; *) echo "compare.sh: ONLY is mosquitto or smallbrain" >&2; exit 2 ;; esac

# A loopback port that nothing listens on.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    return 1
}

# Waits until the server takes connections; it has ten seconds.
ready() {
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    echo "compare.sh: the server does not listen on port $1:" >&2
    cat "$work/log" >&2
    exit 1
}

start_mosquitto() {
    sed "s/18830/$1/" "$here/mosquitto.conf" >"$work/mosquitto.conf"
    mosquitto -c "$work/mosquitto.conf" >"$work/log" 2>&1 &
    server=$!
}

start_smallbrain() {
    rm -rf "$work/store"
    mkdir -m 700 "$work/store"
    sed -e "s/18831/$1/" -e "s/50051/$(free_port)/" -e "s|\"store\"|\"$work/store\"|" \
        -e "s/{1..50}/{1..$connections}/" "$here/load.toml" >"$work/load.toml"
    "$smallbrain" run --config "$work/load.toml" >"$work/log" 2>&1 &
    server=$!
}

field() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" <<<"$1"; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$server/stat"; }
io() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$server/io"; }

# One turn: a line of "name acked rate cpu generator disk wchar peak p99".
turn() {
    local name=$1 port report cpu disk wchar
    port=$(free_port)
    "start_$name" "$port"
    ready "$port"
    cpu=$(ticks) disk=$(io write_bytes) wchar=$(io wchar)
    report=$("$smallbrain" simulate load --server "127.0.0.1:$port" --connections "$connections" --window "$window" \
        --size "$size" --seconds "$seconds" --json)
    cpu=$(($(ticks) - cpu)) disk=$(($(io write_bytes) - disk)) wchar=$(($(io wchar) - wchar))
    awk -v name="$name" -v acked="$(field "$report" acked)" -v rate="$(field "$report" rate)" -v hz="$(getconf CLK_TCK)" \
        -v cpu="$cpu" -v own="$(field "$report" cpu_seconds)" -v disk="$disk" -v wchar="$wchar" \
        -v peak="$(awk '/^VmHWM:/ { print $2 }' "/proc/$server/status")" -v p99="$(field "$report" p99_ms)" 'BEGIN {
            if (acked == 0) { print "compare.sh: nothing was acknowledged" > "/dev/stderr"; exit 1 }
            print name, acked, rate, cpu / hz / acked * 1e6, own / acked * 1e6, disk / acked, wchar / acked, peak / 1024, p99
        }' | tee -a "$work/turns" | awk '{
            printf "%-12s %10d %10.0f %9.2f %9.2f %9.1f %9.1f %9.1f %9.2f\n", $1, $2, $3, $4, $5, $6, $7, $8, $9
        }'
    end
}

echo "$connections connections x window $window, $size B, QoS 1, $seconds s a turn; $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
printf '%-12s %10s %10s %9s %9s %9s %9s %9s %9s\n' server acked acked/s CPU-s/M generator 'disk B' 'wchar B' 'peak MiB' 'p99 ms'
for _ in $(seq "$rounds"); do
    [[ $only == smallbrain ]] || turn mosquitto
    [[ $only == mosquitto ]] || turn smallbrain
done
[[ -n $only ]] || awk '{ acked[$1] += $3; cpu[$1] += $4 } END {
    printf "smallbrain / mosquitto: %.2f x the acked/s, %.2f x the CPU of each\n",
        acked["smallbrain"] / acked["mosquitto"], cpu["smallbrain"] / cpu["mosquitto"]
}' "$work/turns"
