#!/usr/bin/env bash
# What two that misbehave do to a crowd: CONNECTIONS devices, each at QoS 1 at a steady rate through the whole spine, first
# by themselves, then beside one connection that floods and one subscriber that never reads what is published to it. The
# limits of MQTT are those that everybody has, but for the number of connections.
#
#   cargo build --release && benches/crowd.sh
#   CONNECTIONS=500 RATE=1000 RUN_SECONDS=60 ROUNDS=3 benches/crowd.sh
#
# A and B are the 99th percentiles of publish to ack of the steady devices without and with the two; the goals are
# B <= 2 A and a resident memory (VmHWM of the second gateway) of 64 MiB. That nothing was lost: every publish of the crowd is
# acknowledged, no connection ended, and the gateway has stored as many readings as were acknowledged. Exit code 1 when a
# goal is not met. Every turn has a new gateway with an empty store below WORK (default: target/); what the script starts it
# ends, by process id.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
smallbrain=${SMALLBRAIN:-$root/target/release/smallbrain}
connections=${CONNECTIONS:-2000}
rate=${RATE:-2000}
seconds=${RUN_SECONDS:-20}
rounds=${ROUNDS:-2}

[[ -x $smallbrain ]] || { echo "crowd.sh: no $smallbrain: cargo build --release" >&2; exit 2; }
ulimit -n $((connections + 512)) || { echo "crowd.sh: $((connections + 512)) open files are not allowed" >&2; exit 2; }
mkdir -p "${WORK:-$root/target}"
work=$(mktemp -d "${WORK:-$root/target}/crowd.XXXXXX")
server=
end() {
    [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    server=
}
trap 'end; rm -rf "$work"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
field() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" <<<"$1"; }
# A counter of the gateway; with labels, their sum.
counter() {
    exec 3<>"/dev/tcp/127.0.0.1/$metrics"
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    awk -v name="smallbrain_$1" 'index($0, name " ") == 1 || index($0, name "{") == 1 { sum += $NF } END { print sum + 0 }' <&3
    exec 3>&-
}

# One turn: a line of "name p50 p99 acked stored peak_kb lost dropped throttled", and an error when something was lost.
turn() {
    local name=$1 port report stored flooded
    shift
    port=$(free_port) metrics=$(free_port)
    rm -rf "$work/store"
    mkdir -m 700 "$work/store"
    { sed -e "s/127.0.0.1:18831/127.0.0.1:$port/" -e "s/127.0.0.1:50051/127.0.0.1:$(free_port)/" \
        -e "s|\"store\"|\"$work/store\"|" -e "s/{1..50}/{1..$((connections + 1))}/" -e '/^publish_\|^bytes_rate/d' \
        -e "s/^anonymous = true/&\nconnections_max = $((connections + 100))/" "$here/load.toml"
      printf '\n[telemetry]\nlisten = "127.0.0.1:%s"\n' "$metrics"
    } >"$work/load.toml"
    "$smallbrain" run --config "$work/load.toml" >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
        sleep 0.05
    done
    report=$("$smallbrain" simulate load --server "127.0.0.1:$port" --connections "$connections" --rate "$rate" \
        --seconds "$seconds" --json "$@")
    stored=$(counter ingest_stored_total)
    # The crowd's own figures come first, those of the others after them.
    flooded=$(sed -n 's/.*"flood":{"sent":[0-9]*,"acked":\([0-9]*\).*/\1/p' <<<"$report")
    report=${report%%,\"flood\"*} report=${report%%,\"talk\"*}
    echo "$name $(field "$report" p50_ms) $(field "$report" p99_ms) $(field "$report" acked) ${flooded:-0} $stored" \
        "$(awk '/^VmHWM:/ { print $2 }' "/proc/$server/status")" \
        "$(($(field "$report" sent) - $(field "$report" acked) + $(field "$report" lost)))" \
        "$(counter mqtt_deliveries_dropped_total) $(counter mqtt_throttled_total)" | tee -a "$work/turns" | awk '{
            printf "%-10s %9.2f %9.2f %9d %9d %9d %9.1f %6d %9d %9d\n", $1, $2, $3, $4, $5, $6, $7 / 1024, $8, $9, $10 }'
    end
}

echo "$connections connections, $rate publishes/s over all, 150 B, QoS 1, $seconds s a turn; $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
printf '%-10s %9s %9s %9s %9s %9s %9s %6s %9s %9s\n' turn 'p50 ms' 'p99 ms' acked flooded stored 'peak MiB' lost dropped throttled
for _ in $(seq "$rounds"); do
    turn alone
    turn disturbed --flood 1 --deaf 1
done
awk -v rounds="$rounds" '
    { p99[$1] += $3 / rounds; lost += $8 }
    $6 < $4 + $5 { lost += $4 + $5 - $6 }
    $7 > peak[$1] { peak[$1] = $7 }
    $1 == "disturbed" && $9 == 0 { print "crowd.sh: the deaf subscriber was not at its bound" > "/dev/stderr"; bad = 1 }
    END {
        ratio = p99["disturbed"] / p99["alone"]
        printf "A %.2f ms, B %.2f ms, B / A %.2f; peak %.1f MiB alone, %.1f MiB disturbed; %d lost\n",
            p99["alone"], p99["disturbed"], ratio, peak["alone"] / 1024, peak["disturbed"] / 1024, lost
        exit (bad || ratio > 2 || lost > 0 || peak["disturbed"] > 65536) ? 1 : 0
    }' "$work/turns"
