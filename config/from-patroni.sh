#!/bin/sh
# Takes this node from Patroni to pgha, or back, while the cluster goes on: run it as root on one node after the other,
# with docs/from-patroni.md beside it. It looks before it touches anything, hands the leadership over when this node has
# it, changes the program, waits until the node is what it was, and looks again. It never touches the data directory.
#
#   from-patroni.sh check FILE    what would stand against it; changes nothing
#   from-patroni.sh forth FILE    this node: Patroni -> pgha
#   from-patroni.sh back FILE     this node: pgha -> Patroni
#
# FILE is the configuration that both programs run with (/etc/patroni/patroni.yml).
# Exit code: 0 done, 1 refused or failed (the last line says what and what to do), 2 wrong usage.
set -eu

STOP_PATRONI=${STOP_PATRONI:-systemctl disable --now patroni}
START_PATRONI=${START_PATRONI:-systemctl enable --now patroni}
STOP_PGHA=${STOP_PGHA:-systemctl disable --now pgha}
START_PGHA=${START_PGHA:-systemctl enable --now pgha}
RUN_PGHA=${RUN_PGHA:-pgha}
RUN_PGHA_CTL=${RUN_PGHA_CTL:-pgha-ctl}
# Seconds: for a switchover, and for this node to stream again (a node that is far behind may need more).
LIMIT=${LIMIT:-300}
# MB that a standby may be behind when a step begins.
MOST_LAG=${MOST_LAG:-16}

usage() {
  sed -n '6,8s/^# *//p' "$0" >&2
  exit 2
}

[ $# -eq 2 ] || usage
verb=$1
file=$2
case $verb in
  check | forth) from=Patroni to=pgha ;;
  back) from=pgha to=Patroni ;;
  *) usage ;;
esac

step() { printf -- '-- %s\n' "$*"; }
fail() {
  printf 'from-patroni: %s\n' "$*" >&2
  exit 1
}
ctl() { $RUN_PGHA_CTL -c "$file" "$@"; }

[ -r "$file" ] || fail "$file cannot be read. Nothing was changed."

# One member a line: name, role, state, timeline, MB behind, tags. Only the names of the columns are relied on.
members() {
  ctl list -e -f tsv | awk -F '\t' -v OFS='\t' '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { lag = $at["Receive Lag"]
      print $at["Member"], $at["Role"], $at["State"], $at["TL"], (lag == "" ? 0 : lag), $at["Tags"] }'
}
of() { printf '%s\n' "$table" | awk -F '\t' -v name="$1" -v column="$2" '$1 == name { print $column }'; }
leaders() { printf '%s\n' "$table" | awk -F '\t' '$2 ~ /Leader/ { print $1 }'; }
# Patroni or pgha; nothing where the member does not answer. `version` fails when any member does not.
program_of() {
  { ctl version "$scope" 2> /dev/null || true; } | sed -n "s/^$1: \(Patroni\|pgha\) .*/\1/p"
}

# Every member runs on the leader's timeline and is not far behind, and one leads: a step may begin, or has ended well.
healthy() {
  why=
  table=$(members) || { why='the members cannot be listed'; return 1; }
  leader=$(leaders)
  [ "$(printf '%s\n' "$leader" | grep -c .)" -eq 1 ] || { why="the leader is '$leader'"; return 1; }
  bad=$(printf '%s\n' "$table" | awk -F '\t' -v tl="$(of "$leader" 4)" -v most="$MOST_LAG" '
    $3 != "running" && $3 != "streaming" { print $1 " is " $3; next }
    $4 != tl { print $1 " is on timeline " $4 ", the leader on " tl; next }
    $5 == "unknown" || $5 + 0 > most { print $1 " is " $5 " MB behind" }')
  [ -z "$bad" ] || { why=$(printf '%s' "$bad" | tr '\n' ';'); return 1; }
}

wait_for() {
  what=$1
  shift
  since=$(date +%s)
  until "$@"; do
    [ $(($(date +%s) - since)) -lt "$LIMIT" ] || return 1
    sleep 1
  done
  step "$what"
}

# --------------------------------------------------------------------------------------------------- before

# What pgha makes of the file: a mistake in it would be found too late after Patroni has been stopped.
checked=$($RUN_PGHA --validate-config "$file" 2>&1) || {
  printf '%s\n' "$checked" >&2
  fail "pgha refuses $file. Nothing was changed."
}
me=$(printf '%s\n' "$checked" | awk '$1 == "name" { print $2; exit }')
scope=$(printf '%s\n' "$checked" | awk '$1 == "cluster" { print $2; exit }')
[ -n "$me" ] && [ -n "$scope" ] || fail "$file names no member or no cluster. Nothing was changed."
printf '%s\n' "$checked" | sed -n '/^Warnings/,/^$/p; /^Without effect/,/^$/p'

healthy || fail "the cluster is not healthy: $why. Nothing was changed."
[ -n "$(of "$me" 1)" ] || fail "$me is no member of $scope. Nothing was changed."
if ctl show-config "$scope" | grep -Eiq '^pause: *(true|on|yes|1)$'; then
  fail "the cluster is in maintenance: 'pgha-ctl resume' first. Nothing was changed."
fi
if ctl show-config "$scope" | grep -Eiq '^synchronous_mode: *quorum$' && [ "$verb" != check ]; then
  step 'synchronous_mode is quorum: members of Patroni before 4.0 do not know it'
fi
running=$(program_of "$me")
if [ "$running" = "$to" ]; then
  step "$me runs $to already; nothing to do"
  [ "$verb" = check ] || exit 0
elif [ "$running" != "$from" ]; then
  fail "$me does not answer as $from (but as '${running:-nobody}'). Nothing was changed."
fi

# Who leads instead: best a member that runs the other program already, so that the leadership moves only once. Of
# others the leader chooses one itself. With synchronous standbys only they may lead.
candidate=
if [ "$leader" = "$me" ]; then
  others=$(printf '%s\n' "$table" | awk -F '\t' -v me="$me" '$1 != me && $6 !~ /nofailover: true/ { print $1 "\t" $2 }')
  [ -n "$others" ] || fail "$me leads and nobody else could: writes would stop meanwhile. Nothing was changed."
  case $others in *Sync*) others=$(printf '%s\n' "$others" | grep Sync) ;; esac
  for name in $(printf '%s\n' "$others" | cut -f 1); do
    [ -n "$candidate" ] || [ "$(program_of "$name")" != "$to" ] || candidate=$name
  done
fi
step "$scope is healthy; $leader leads; $me runs $running"
[ "$verb" != check ] || exit 0

# --------------------------------------------------------------------------------------------------- the change

if [ "$leader" = "$me" ]; then
  ctl switchover "$scope" --leader "$me" ${candidate:+--candidate "$candidate"} --force ||
    fail "the switchover did not succeed. $me still runs $from: look at 'pgha-ctl list', and try again."
  follows() { healthy && [ "$leader" != "$me" ]; }
  wait_for "$me follows another leader" follows ||
    fail "after the switchover: ${why:-$me leads again}. $me still runs $from."
fi

if [ "$to" = pgha ]; then
  stop=$STOP_PATRONI start=$START_PGHA undo=$START_PATRONI
else
  stop=$STOP_PGHA start=$START_PATRONI undo=$START_PGHA
fi
step "stop $from: $stop"
sh -c "$stop" || fail "'$stop' failed. $me was a standby; to go on with $from: $undo"
silent() { [ -z "$(program_of "$me")" ]; }
wait_for "$from is down on $me" silent || fail "$from still answers on $me after $LIMIT s. Nothing else was changed."
step "start $to: $start"
sh -c "$start" || fail "'$start' failed. To go on with $from: $undo"

# --------------------------------------------------------------------------------------------------- after

there() { [ "$(program_of "$me")" = "$to" ] && healthy; }
wait_for "$me runs $to and streams" there ||
  fail "$me is not back as it was: ${why:-it does not answer as $to}. The log of $to says why; to go on with $from stop $to, then: $undo"
ctl list
