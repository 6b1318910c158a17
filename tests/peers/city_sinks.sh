#!/usr/bin/env bash
# smallbrain-city into NATS JetStream and PostgreSQL of other people's making: everything once, although the collector is
# killed in the middle. Both servers run on loopback with data of their own and end with the script.
#
#   SMALLBRAIN=target/debug/smallbrain SMALLBRAIN_CITY=target/debug/smallbrain-city tests/peers/city_sinks.sh
#
# Needs nats-server and postgresql of Debian, and python3.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
smallbrain=${SMALLBRAIN:-$here/../../target/debug/smallbrain}
city=${SMALLBRAIN_CITY:-$here/../../target/debug/smallbrain-city}
work=$(mktemp -d /tmp/city.XXXXXX)
chmod 755 "$work"
pids=()
failed=0

end() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    [ "$failed" = 0 ] && rm -rf "$work" || echo "logs are in $work"
}
trap end EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
check() { # NAME COMMAND…
    if "${@:2}"; then echo "ok    $1"; else echo "FAILED $1"; failed=1; fi
}
wait_for() { # SECONDS COMMAND…
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        [ "$SECONDS" -ge "$end" ] && return 1
        sleep 0.2
    done
}
as_user() { # PostgreSQL does not run as root.
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}

# ── The servers ──────────────────────────────────────────────────────────────────────────────────────────────────────
nats=$(free_port)
nats-server -a 127.0.0.1 -p "$nats" -js -sd "$work/nats" >"$work/nats.log" 2>&1 &
pids+=($!)
pg=$(free_port)
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
mkdir "$work/pg"
[ "$(id -u)" = 0 ] && chown postgres "$work/pg"
as_user "$bin/initdb" -D "$work/pg/data" -A trust -U smallbrain >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log"; exit 1; }
as_user "$bin/postgres" -D "$work/pg/data" -p "$pg" -c listen_addresses=127.0.0.1 -k "$work/pg" >"$work/pg.log" 2>&1 &
pids+=($!)
sql() { "$bin/psql" -h 127.0.0.1 -p "$pg" -U smallbrain -At -d postgres -c "$1"; }
check "postgresql answers" wait_for 30 sql "SELECT 1" >/dev/null 2>&1

# ── Two gateways with a load ─────────────────────────────────────────────────────────────────────────────────────────
declare -A mqtt share
for id in north south; do
    mqtt[$id]=$(free_port)
    share[$id]=$(free_port)
    mkdir "$work/$id"
    sed -e "s/127.0.0.1:18831/127.0.0.1:${mqtt[$id]}/" -e "s/127.0.0.1:50051/127.0.0.1:${share[$id]}/" \
        -e 's/^device_burst.*/&\nbulk_rows_max = 20\nbulk_age_max = "1s"/' "$here/../../benches/crash.toml" >"$work/$id/config.toml"
    (cd "$work/$id" && exec "$smallbrain" run --config config.toml) >"$work/$id.log" 2>&1 &
    pids+=($!)
    check "gateway $id is ready" wait_for 30 grep -q ready "$work/$id.log"
done
load() {
    local running=()
    for id in north south; do
        "$smallbrain" simulate load --server "127.0.0.1:${mqtt[$id]}" --connections 10 --rate 400 --seconds "$1" >>"$work/load.log" 2>&1 &
        running+=($!)
    done
    wait "${running[@]}"
}

registry() {
    for id in north south; do
        printf '[[gateway]]\nid = "%s"\npull = "http://127.0.0.1:%s"\n' "$id" "${share[$id]}"
    done
}
settings() { # KIND NAME
    printf '[collector]\nname = "%s"\nregistry = "gateways.toml"\nstart_spread = "100ms"\n[sink]\nkind = "%s"\n' "$2" "$1"
    case $1 in
        nats) echo "url = \"nats://127.0.0.1:$nats\"" ;;
        postgres) echo "url = \"postgres://smallbrain@127.0.0.1:$pg/postgres\"" ;;
    esac
}
stored() { # KIND: the ids of records, one a line
    case $1 in
        nats) python3 "$here/city_ids.py" "$nats" smallbrain | grep -v -e -withheld- -e -gap- ;;
        postgres) sql "SELECT record_id FROM smallbrain_record" 2>>"$work/psql.log" ;;
    esac | sort
}
started() { # KIND NAME
    "$city" run --config "$work/$1-$2.toml" >>"$work/$1-$2.log" 2>&1 &
    collector=$!
    pids+=($!)
}
[ $# = 0 ] && set -- nats postgres
# A sink that comes later begins at the acknowledgement that the gateway has: all of them together have every position.
whole() {
    for id in north south; do
        "$smallbrain" status --json --socket "$work/$id/store/smallbrain.sock"
    done | python3 -c '
import json, sys
reader, text, heads = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    status, end = reader.raw_decode(text)
    text = text[end:].lstrip()
    heads += [lane["head"] for lane in status["lanes"] if lane["lane"] == "bulk"]
seqs = {}
for path in sys.argv[1:]:
    for line in open(path):
        epoch, lane, seq = line.strip().split("-")
        if lane == "bulk":
            seqs.setdefault(epoch, []).append(int(seq))
print(sum(heads), "positions,", sum(map(len, seqs.values())), "records")
sys.exit(sorted(heads) != sorted(map(len, seqs.values())) or any(set(s) != set(range(1, len(s) + 1)) for s in seqs.values()))
' "$work"/*.ids
}

for sink in "$@"; do
    registry >"$work/gateways.toml"
    for name in one two; do settings "$sink" "$name" >"$work/$sink-$name.toml"; done
    check "$sink: check" "$city" check --config "$work/$sink-one.toml" >/dev/null
    started "$sink" one
    first=$collector
    load 6 &
    loading=$!
    begun() { [ "$(stored "$sink" | wc -l)" -gt 20 ]; }
    check "$sink: records come" wait_for 30 begun
    kill -9 "$first"
    # Another one takes over when the leases of the first have run out.
    started "$sink" two
    second=$collector
    wait "$loading"
    taken() { grep -q "gateways are taken over" "$work/$sink-two.log"; }
    check "$sink: another collector takes over" wait_for 40 taken
    settled() { local now; now=$(stored "$sink" | wc -l); sleep 3; [ "$now" -gt 0 ] && [ "$now" = "$(stored "$sink" | wc -l)" ]; }
    check "$sink: it comes to rest" wait_for 60 settled
    kill -TERM "$second"
    wait "$second"
    check "$sink: it stops politely" [ $? = 0 ]
    stored "$sink" >"$work/$sink.ids"
    check "$sink: every record once" [ -z "$(uniq -d "$work/$sink.ids")" ]
    check "$sink: none left out" whole
done
exit "$failed"
