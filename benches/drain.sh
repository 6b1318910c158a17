#!/usr/bin/env bash
# How fast a backlog of single-reading records is pulled, and what memory the gateway needs for it: load.toml with every
# reading a record of its own on the bulk lane, RECORDS of them (default a million), then PULLS whole drains on loopback
# with zstd, hashes and positions verified by the puller. Then ALARM_PULLS more while ten devices a second raise an alarm:
# how old alarms are when they come is measured on the one clock of this machine.
#
#   cargo build --release && benches/drain.sh
#
# What the script starts it ends, by process id; the store is below WORK (default: target/).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
smallbrain=${SMALLBRAIN:-$root/target/release/smallbrain}
records=${RECORDS:-1000000}
pulls=${PULLS:-3}
alarm_pulls=${ALARM_PULLS:-10}

mkdir -p "${WORK:-$root/target}"
work=$(mktemp -d "${WORK:-$root/target}/drain.XXXXXX")
started=()
end() {
    for pid in "${started[@]}"; do { kill "$pid" && wait "$pid"; } 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mqtt=$(free_port)
share=$(free_port)
sed -e 's/^lane = "aggregate"/lane = "bulk"/' -e '/^carries/d' -e 's/^\[ingest\]/[ingest]\nbulk_rows_max = 1/' \
    -e "s/127.0.0.1:18831/127.0.0.1:$mqtt/" -e "s/127.0.0.1:50051/127.0.0.1:$share/" "$here/load.toml" > "$work/load.toml"
cat >> "$work/load.toml" <<'TOML'
[[mapping]]
topic = "compound/{device}/alarm"
template = "probe"
[[template]]
name = "probe"
[[template.point]]
metric = "smoke"
kind = "flag"
json = "/smoke"
[[device]]
ids = ["probe-{1..2000}"]
template = "probe"
[[collect]]
id = "C-2"
templates = ["probe"]
purpose = "bench"
fields = { smoke = "keep" }
[[alarm]]
id = "smoke"
when = "smoke"
severity = "critical"
[[share]]
id = "S-2"
purpose = "bench"
lane = "alarm"
consumers = ["spiffe://city.example/bench"]
metrics = ["smoke"]
devices = true
carries = ["smoke"]
approval = "bench"
until = "2030-01-01"
TOML

cd "$work"
"$smallbrain" run --config load.toml 2> log &
server=$!
started+=("$server")
for _ in $(seq 100); do
    (: < "/dev/tcp/127.0.0.1/$mqtt") 2>/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat log >&2; exit 1; }
    sleep 0.1
done

memory() { awk '/VmHWM/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$server/status"; }
cpu() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$server/stat"; }

"$smallbrain" simulate load --server "127.0.0.1:$mqtt" --count "$records"
echo "filled: gateway peak $(memory), $(cpu) CPU-s so far"
for turn in $(seq "$pulls"); do
    before=$(cpu)
    line=$("$smallbrain" pull --gateway "http://127.0.0.1:$share" --lane bulk --after 0 --count-only)
    echo "drain $turn: $line gateway CPU-s $(awk -v a="$before" -v b="$(cpu)" 'BEGIN { printf "%.2f", b - a }')"
done
echo "drained: gateway peak $(memory)"
python3 "$here/probe.py" "$mqtt" 2000 &
started+=($!)
for turn in $(seq "$alarm_pulls"); do
    echo "with alarms $turn: $("$smallbrain" pull --gateway "http://127.0.0.1:$share" --lane alarm --lane bulk --after 0 --count-only)"
done
echo "drained with alarms: gateway peak $(memory)"
