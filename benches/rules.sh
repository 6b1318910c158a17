#!/usr/bin/env bash
# What the rule engine costs beside closures written by hand and the `cel` crate, on the same readings and conditions: median
# readings a second on one core, and the ratio to the engine. Only the ratio of one run means anything.
#
#   benches/rules.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
echo "$(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
cargo bench --quiet --bench rules 2>/dev/null | awk '
    # The name stands in the row of times; the row below it has the rates: before mean, samples and iterations the median.
    /closures_by_hand|by_the_cel_crate|engine_readings/ { name = $2; next }
    name != "" && /item\/s/ {
        split(field[split($0, field, "│") - 3], rate, " ")
        factor = rate[2] ~ /^M/ ? 1e6 : rate[2] ~ /^K/ ? 1e3 : rate[2] ~ /^G/ ? 1e9 : 1
        figure[name] = rate[1] * factor
        name = ""
    }
    END {
        if (!figure["engine_readings"]) { print "rules.sh: no figure of the engine" >"/dev/stderr"; exit 1 }
        printf "%-18s %14s %8s\n", "who", "readings/s", "ratio"
        for (who in figure)
            printf "%-18s %14.0f %8.2f\n", who, figure[who], figure[who] / figure["engine_readings"]
    }'
