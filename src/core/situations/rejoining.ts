/** Somebody else leads and our Postgres is down: start as his standby, rewind, or copy anew, and why. */
import type { ClusterView, LeaderKey } from '../cluster.ts';
import { copySource } from '../copy-source.ts';
import { type Decision, decision } from '../decision.ts';
import { printLsn } from '../lsn.ts';
import { standbySource } from '../standby-cluster.ts';
import { between, millis } from '../time.ts';
import { kinship } from '../timeline.ts';
import { memberNamed, ownHistory, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';
import { awaitsBeat, lineageOf } from './following.ts';

/** After so many failed rewinds the directory is copied anew. */
const REWINDS = 2;
/** After so many searches in vain the end of the local WAL counts as the last checkpoint. */
const SEARCHES = 3;
/** How old the leader's lineage may be when data here is undone by it. */
const FRESH_LINEAGE = 1_000;

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
  const end = view.endOfWal ?? local.checkpoint;
  const kin = kinship({ timeline: local.timeline, end, history: ownHistory(lineage, local.timeline) }, lineage);
  // Out of recovery on this timeline, and the leader is so too, or it came there at another position: two promotions
  // gave the same number, one after the other, and the second server knew nothing of the first. Positions on it tell
  // nothing then, and a rewind takes both for one line and does nothing.
  const numberGivenTwice =
    local.timeline === lineage.timeline &&
    (kin.kind === 'diverged' || (local.wasPrimary && !local.standbySignal && !lineage.inRecovery));
  // Also where it decides nothing: what is undone is told, and kept, up to there.
  if ((local.timeline !== lineage.timeline || numberGivenTwice) && view.endOfWal === null && !searched) {
    const what = numberGivenTwice
      ? `${leader.name} began another timeline ${lineage.timeline} than ours`
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
  const why = `our WAL ends at ${printLsn(end)} on timeline ${local.timeline}; ${leader.name} (timeline ${lineage.timeline}) ${where}`;
  const rewinds = view.attempts.get('rewind')?.failures ?? 0;
  const {
    usePgRewind,
    removeDataDirectoryOnRewindFailure,
    removeDataDirectoryOnDivergedTimelines,
    replacementsPerDay,
  } = view.policy.cluster;
  const mayRewind = usePgRewind && rewinds < REWINDS && !numberGivenTwice;
  const allowed = usePgRewind ? removeDataDirectoryOnRewindFailure : removeDataDirectoryOnDivergedTimelines;
  const mayCopy = allowed || view.replacementsToday < replacementsPerDay;
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
      usePgRewind && !numberGivenTwice ? `; the rewind failed: ${view.attempts.get('rewind')?.said ?? ''}` : '';
    const source = copySource(view, cluster, leader);
    return decision('rejoin.copy', why + said, [{ do: 'copy', source, leader: leader.name, wipe: true }]);
  }
  const tried = numberGivenTwice ? 'A rewind cannot tell the two apart' : 'Rewinding did not bring it back';
  const whyNoRewind = usePgRewind ? tried : 'use_pg_rewind is off';
  const budget =
    replacementsPerDay > 0 ? `, and data_directory_replacements_per_day (${replacementsPerDay}) is used up` : '';
  return decision(
    'rejoin.stuck',
    `${why}. ${whyNoRewind}, and the settings forbid to replace the directory${budget}: run pgha-ctl reinit CLUSTER ${view.self}, or set ${usePgRewind ? 'remove_data_directory_on_rewind_failure' : 'use_pg_rewind or remove_data_directory_on_diverged_timelines'}`,
  );
}
