#!/usr/bin/env bash
# How fast captured frames are decoded: the samples of each protocol in tests/data, repeated to FRAMES lines of hex (default
# 100,000), through `smallbrain decode` from a file to a file. Beside it, in the same run, what Python needs to read the
# objects that came out and to write them again, without any protocol: the least that a script at the other end of the pipe
# does. Only the ratio of one run means anything. Of ROUNDS (default 3) the fastest counts for both.
#
#   cargo build --release && benches/decode.sh
#   FRAMES=1000000 SMALLBRAIN=/path/to/smallbrain benches/decode.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
smallbrain=${SMALLBRAIN:-$root/target/release/smallbrain}
frames=${FRAMES:-100000}
rounds=${ROUNDS:-3}
[[ -x $smallbrain ]] || { echo "decode.sh: no $smallbrain: cargo build --release" >&2; exit 2; }
command -v python3 >/dev/null || { echo "decode.sh: python3 is not installed" >&2; exit 2; }

mkdir -p "${WORK:-$root/target}"
work=$(mktemp -d "${WORK:-$root/target}/decode.XXXXXX")
trap 'rm -rf "$work"' EXIT

script() {
    python3 -c '
import json, sys
for line in sys.stdin:
    sys.stdout.write(json.dumps(json.loads(line)) + "\n")'
}

# `fastest FROM TO COMMAND…`: the seconds of the fastest of all rounds.
fastest() {
    local begun from=$work/$1 to=$work/$2
    shift 2
    for _ in $(seq "$rounds"); do
        begun=$EPOCHREALTIME
        "$@" <"$from" >"$to"
        awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'
        [[ $(wc -l <"$to") -eq $frames ]] || { echo "decode.sh: not an object for each line: $*" >&2; exit 1; }
    done | sort -n | head -n 1
}

echo "$frames frames each, the fastest of $rounds; $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
printf '%-8s %8s %8s %10s %8s %8s %10s %6s\n' protocol samples seconds frames/s 'MB/s in' 'MB/s out' 'python s' ratio
for protocol in modbus dlt645 cjt188 mbus; do
    samples=$root/tests/data/$protocol.jsonl
    sed -n 's/.*"hex": *"\([0-9A-Fa-f ]*\)".*/\1/p' "$samples" >"$work/samples"
    awk -v frames="$frames" '{ line[NR] = $0 } END { for (n = 0; n < frames; n++) print line[n % NR + 1] }' \
        "$work/samples" >"$work/lines"
    own=$(fastest lines objects "$smallbrain" decode "$protocol")
    python=$(fastest objects copy script)
    awk -v protocol="$protocol" -v samples="$(wc -l <"$work/samples")" -v frames="$frames" -v own="$own" -v python="$python" \
        -v bytes="$(tr -d ' \n' <"$work/lines" | wc -c)" -v out="$(wc -c <"$work/objects")" 'BEGIN {
            printf "%-8s %8d %8.3f %10.0f %8.1f %8.1f %10.3f %6.2f\n",
                protocol, samples, own, frames / own, bytes / 2e6 / own, out / 1e6 / own, python, python / own
        }'
done
echo "MB/s in: bytes on the wire; MB/s out: JSON; ratio: how many times as long Python needs"
