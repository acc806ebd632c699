#!/usr/bin/env bash
# What buttress costs beside what does the same in Java and Go, on this machine: `just bench-languages`.
# Needs a JDK 17 with Maven, and Go 1.24; a language that isn't installed is left out. Not part of CI.
#
# resilience4j comes from Maven Central and is timed by a plain loop, warmed up for two seconds a candidate; failsafe-go
# and gobreaker come as Go modules. Both call synchronously, ours polls a future. The programs take three turns, and the
# figure is the median of the three. Java counts the bytes it allocates, and not how often.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=benches/peers/other-languages
built=$PWD/target/other-languages
mkdir -p "$built"

have_java= have_go=
if command -v mvn >/dev/null && command -v java >/dev/null; then
    mvn --quiet --batch-mode --file "$here/java/pom.xml" compile dependency:build-classpath -Dmdep.outputFile="$built/classpath"
    have_java=1
else
    echo "no java, or no mvn: left out" >&2
fi
if command -v go >/dev/null; then
    (cd "$here/go" && go build -buildvcs=false -o "$built/go" .)
    have_go=1
else
    echo "no go: left out" >&2
fi
cargo bench --quiet -p peers --no-run

# row,candidate,one thread,two threads,allocations
turn() {
    cargo bench --quiet -p peers -- --csv buttress | sed -n 's/^\(".*","buttress"\),\([^,]*\),[^,]*,\([^,]*\),[^,]*,\(.*\)/\1,\2,\3,\4/p'
    if [[ $have_java ]]; then
        java -Xmx512m -cp "$built/java/classes:$(<"$built/classpath")" Peers
    fi
    if [[ $have_go ]]; then
        "$built/go"
    fi
}
for _ in 1 2 3; do turn; done >"$built/turns.csv"

# Rows without anybody beside us are left out.
awk -F'"' '
    { row = $2; key = $2 SUBSEP $4; split($5, figures, ",") }
    !(row in rows) { rows[row] = ++n; name[n] = row }
    !(key in seen) { seen[key] = 1; of[row] = of[row] $4 "\n"; beside[row]++ }
    { turns[key]++; one[key, turns[key]] = figures[2]; two[key, turns[key]] = figures[3]; allocations[key] = figures[4] }
    function median(a, b, c) { return a < b ? (b < c ? b : (a < c ? c : a)) : (a < c ? a : (b < c ? c : b)) }
    END {
        printf "%-30s%14s%8s%14s%8s%14s\n", "", "one thread", "ratio", "two threads", "ratio", "allocations"
        for (i = 1; i <= n; i++) {
            row = name[i]
            if (beside[row] < 2) continue
            print "\n" row
            count = split(of[row], candidates, "\n") - 1
            for (j = 1; j <= count; j++) {
                key = row SUBSEP candidates[j]
                a = median(one[key, 1] + 0, one[key, 2] + 0, one[key, 3] + 0)
                b = median(two[key, 1] + 0, two[key, 2] + 0, two[key, 3] + 0)
                if (j == 1) { ours_one = a; ours_two = b }
                printf "  %-28s%11.1f ns%8.2f%11.1f ns%8.2f%14s\n", candidates[j], a, a / ours_one, b, b / ours_two, allocations[key]
            }
        }
    }' "$built/turns.csv"
