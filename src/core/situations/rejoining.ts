/** Somebody else leads and our Postgres is down: start as his standby, rewind, or copy anew, and why. */
import type { ClusterView, LeaderKey } from '../cluster.ts';
import { copySource } from '../copy-source.ts';
import { type Decision, decision } from '../decision.ts';
import type { Stopped } from '../local.ts';
import { distance, furthest, type Lsn, printLsn, type Timeline } from '../lsn.ts';
import { standbySource } from '../standby-cluster.ts';
import { between, millis } from '../time.ts';
import { type Kinship, kinship, partingPoint, type TimelineHistory } from '../timeline.ts';
import { type LearnedLineage, memberNamed, ownHistory, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';
import { awaitsBeat, lineageOf } from './following.ts';

/** After so many failed rewinds the directory is copied anew. */
const REWINDS = 2;
/** After so many searches in vain the end of the local WAL counts as the last checkpoint. */
const SEARCHES = 3;
/** A failover takes a TTL, and what leads to it and what follows so much more at most. */
const FAILOVER_MS = 60_000;
/** How old the leader's lineage may be when data here is undone by it. */
const FRESH_LINEAGE = 1_000;
/** One who undoes nothing for what the leader was asks him again after so long. */
const ASK_AGAIN = 30_000;

export function rejoin(view: View, cluster: ClusterView, leader: LeaderKey): Decision {
  const { local } = view;
  if (local.kind !== 'stopped') return decision('node.busy', `Postgres is ${local.kind}`);
  const member = memberNamed(cluster, leader.name);
  if (member?.host == null || member.port == null) {
    return decision(
      'following.leader-not-ready',
      `${leader.name} leads; its address is not known yet`,
      [],
      millis(500),
    );
  }
  const lineage = lineageOf(view, leader);
  const amongStandbys = standbySource(view.policy, cluster) !== null;
  if (lineage?.inRecovery && !amongStandbys) {
    return decision(
      'following.leader-not-ready',
      `${leader.name} has the key and is not promoted yet`,
      [{ do: 'learn-lineage', of: leader.name }],
      millis(50),
    );
  }
  if (lineage === null) {
    return decision(
      'following.learn-lineage',
      `${leader.name} leads: compare its history with ours`,
      [{ do: 'learn-lineage', of: leader.name }],
      millis(200),
    );
  }
  if (lineage.systemId !== local.systemId) {
    return decision(
      'joining.foreign-data',
      `${leader.name} serves system identifier ${lineage.systemId}, the data here is ${local.systemId}: left alone`,
    );
  }
  // A copy of a backup has no WAL of its own yet, and no end of it: it comes with the stream.
  const searched = (view.attempts.get('find-end')?.failures ?? 0) >= SEARCHES && local.standbySignal;
  const walEnd = view.endOfWal ?? local.checkpoint;
  // Pages that are newer than the WAL here have to be on his line, too; what made them stands in no WAL that a rewind reads.
  const end = furthest(walEnd, local.minRecoveryPoint);
  const lacksWal = local.minRecoveryPoint > walEnd;
  const kin = kinship({ timeline: local.timeline, end, history: ownHistory(lineage, local.timeline) }, lineage);
  const seemsFurther = local.timeline === lineage.timeline && !lineage.inRecovery && end > lineage.position;
  if (seemsFurther && lineage.at < view.localSince) {
    return decision('following.learn-lineage', `${leader.name} leads: ask once more how far it is`, [
      { do: 'learn-lineage', of: leader.name },
    ]);
  }
  const numberGivenTwice = isGivenTwice(local, lineage, kin, walEnd);
  // Also where it decides nothing: what is undone is told, and kept, up to there.
  if (
    (local.timeline !== lineage.timeline || numberGivenTwice || seemsFurther) &&
    view.endOfWal === null &&
    !searched
  ) {
    const what = numberGivenTwice
      ? `${leader.name} began another timeline ${lineage.timeline} than ours`
      : seemsFurther
        ? `${leader.name} is at ${printLsn(lineage.position)} on timeline ${lineage.timeline}, our pages are newer`
        : `${leader.name} is on timeline ${lineage.timeline}, we are on ${local.timeline}`;
    return decision('rejoin.find-end', `${what}: find the end of our WAL`, [{ do: 'find-end-of-wal' }]);
  }
  if (kin.kind === 'same-line' && !numberGivenTwice) {
    const wait =
      backingOff(view, 'start') ?? (view.policy.node.noStream === true ? null : awaitsBeat(view, cluster, leader));
    if (wait !== null) return wait;
    return decision(
      'rejoin.start',
      `our WAL ends at ${printLsn(end)} on timeline ${local.timeline}, which ${leader.name} has: no rewind`,
      [{ do: 'start-standby', upstream: view.policy.node.noStream === true ? null : leader.name }],
    );
  }

  const where = numberGivenTwice
    ? 'began another one of that number'
    : kin.kind === 'diverged'
      ? `left our timeline at ${printLsn(kin.at)}`
      : 'never was on our timeline';
  const ends = lacksWal ? `our pages are as new as ${printLsn(end)}` : `our WAL ends at ${printLsn(end)}`;
  const why = `${ends} on timeline ${local.timeline}; ${leader.name} (timeline ${lineage.timeline}) ${where}`;
  const rewinds = view.attempts.get('rewind')?.failures ?? 0;
  const {
    usePgRewind,
    removeDataDirectoryOnRewindFailure,
    removeDataDirectoryOnDivergedTimelines,
    replacementsPerDay,
  } = view.policy.cluster;
  const mayRewind = usePgRewind && rewinds < REWINDS && !numberGivenTwice && !lacksWal;
  const allowed = usePgRewind ? removeDataDirectoryOnRewindFailure : removeDataDirectoryOnDivergedTimelines;
  const mayCopy = allowed || view.replacementsToday < replacementsPerDay;
  // Where the cluster follows another one, an operator has said whose data count.
  if ((mayRewind || mayCopy) && !amongStandbys) {
    const own = { timeline: local.timeline, end: walEnd, history: ownHistory(lineage, local.timeline) };
    const held = heldByAmount(view, own, lineage, why);
    if (held !== null) return held;
  }
  // What throws data away rests on what the leader is now, not on what it was when it was asked last.
  if ((mayRewind || mayCopy) && between(lineage.at, view.now) > FRESH_LINEAGE) {
    return decision(
      'following.learn-lineage',
      `our history is not that of ${leader.name}: ask it once more before anything is undone`,
      [{ do: 'learn-lineage', of: leader.name }],
    );
  }
  if (mayRewind) {
    const again = backingOff(view, 'rewind');
    if (again !== null) return again;
    return decision('rejoin.rewind', why, [{ do: 'rewind', source: leader.name }]);
  }
  if (mayCopy) {
    const again = backingOff(view, 'copy');
    if (again !== null) return again;
    const said =
      usePgRewind && !numberGivenTwice && !lacksWal
        ? `; the rewind failed: ${view.attempts.get('rewind')?.said ?? ''}`
        : '';
    const source = copySource(view, cluster, leader);
    return decision('rejoin.copy', why + said, [{ do: 'copy', source, leader: leader.name, wipe: true }]);
  }
  const tried = numberGivenTwice
    ? 'A rewind cannot tell the two apart'
    : lacksWal
      ? 'A rewind goes by WAL that is not here'
      : 'Rewinding did not bring it back';
  const whyNoRewind = usePgRewind ? tried : 'use_pg_rewind is off';
  const budget =
    replacementsPerDay > 0 ? `, and data_directory_replacements_per_day (${replacementsPerDay}) is used up` : '';
  return decision(
    'rejoin.stuck',
    `${why}. ${whyNoRewind}, and the settings forbid to replace the directory${budget}: run pgha-ctl reinit CLUSTER ${view.self}, or set ${usePgRewind ? 'remove_data_directory_on_rewind_failure' : 'use_pg_rewind or remove_data_directory_on_diverged_timelines'}`,
  );
}

/**
 * Two promotions gave the same number, one after the other, and the second server knew nothing of the first: the leader
 * came to the timeline at another position, or both were out of recovery on it, or what is here is further than he is.
 * Positions on it tell nothing then, and a rewind takes both for one line and does nothing.
 *
 * @param lineage - asked since Postgres stopped here: what a standby has received, its primary had written before
 * @param walEnd - pages may be newer than that, and than what the leader has flushed: a rewind takes what is in his memory
 */
export function isGivenTwice(
  local: Stopped,
  lineage: Pick<LearnedLineage, 'timeline' | 'inRecovery' | 'position'>,
  kin: Kinship,
  walEnd: Lsn,
): boolean {
  if (local.timeline !== lineage.timeline) return false;
  if (kin.kind === 'diverged') return true;
  return !lineage.inRecovery && ((local.wasPrimary && !local.standbySignal) || walEnd > lineage.position);
}

/**
 * Nobody is elected by himself who lacks more than `maximum_lag_on_failover` of what the leader had published, and of what
 * was written since then there is as much as a TTL brings. WAL of a longer time that the leader never had is not the loss of
 * a failover: an etcd that was emptied let somebody lead with data of weeks ago, or somebody was promoted by hand.
 */
function heldByAmount(
  view: View,
  own: { readonly timeline: Timeline; readonly end: Lsn; readonly history: TimelineHistory | null },
  lineage: LearnedLineage,
  why: string,
): Decision | null {
  const { maximumLagOnFailoverBytes, ttl } = view.policy.cluster;
  const { local } = view;
  if (local.kind !== 'stopped') return null;
  // Where histories do not tell, it is looked at from the last checkpoint on.
  const from = partingPoint(own, lineage) ?? local.checkpoint;
  if (distance(from, own.end) <= maximumLagOnFailoverBytes) return null;
  const { undone } = view;
  if (undone?.from !== from || undone.to !== own.end) {
    return decision('rejoin.look-at-undone', `${why}: see what that is, before it is undone`, [
      { do: 'look-at-undone', timeline: own.timeline, from, to: own.end },
    ]);
  }
  const isLong = undone.span !== null && undone.span > 2 * ttl + FAILOVER_MS;
  // The slots of the others keep it here for as long as a failover takes.
  if ((undone.whole || !view.policy.cluster.useSlots) && !isLong) return null;
  const what = isLong
    ? `commits of ${Math.round((undone.span ?? 0) / 1_000)} s are in it`
    : 'its beginning is not here any more';
  const isOld = between(lineage.at, view.now) > ASK_AGAIN;
  return decision(
    'rejoin.too-much',
    `${why}: ${what}, which is more than a failover loses. ${lineage.of} may have begun with older data. Nothing is undone here: if ${lineage.of} is right, run pgha-ctl reinit CLUSTER ${view.self}; if ${view.self} is, see docs/way-back.md`,
    isOld ? [{ do: 'learn-lineage', of: lineage.of }] : [],
  );
}
