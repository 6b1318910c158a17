#!/usr/bin/env bash
# What privacy and the trail cost a million readings, on one core: a mix of treatments at the inner door, and two rows of
# the trail (delivered, acknowledged) for each record of 1,000 readings, with their commits. Medians.
#
#   benches/privacy.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
echo "$(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
cargo bench --quiet --bench spine -- 'inner_door|row_of_the_trail' 2>/dev/null | awk '
    # The name stands in the row of times; the row below it has the rates: before mean, samples and iterations the median.
    /inner_door|row_of_the_trail/ { name = $2; next }
    name != "" && /item\/s/ {
        split(field[split($0, field, "│") - 3], rate, " ")
        factor = rate[2] ~ /^M/ ? 1e6 : rate[2] ~ /^K/ ? 1e3 : rate[2] ~ /^G/ ? 1e9 : 1
        figure[name] = rate[1] * factor
        name = ""
    }
    END {
        door = figure["inner_door_with_a_mix_of_treatments"]; trail = figure["row_of_the_trail"]
        if (!door || !trail) { print "privacy.sh: a figure is missing" >"/dev/stderr"; exit 1 }
        printf "inner door   %10.0f readings/s  %6.3f s a million\n", door, 1e6 / door
        printf "trail        %10.0f rows/s      %6.3f s for 2,000 rows\n", trail, 2000 / trail
        printf "together                            %6.3f s a million\n", 1e6 / door + 2000 / trail
    }'
