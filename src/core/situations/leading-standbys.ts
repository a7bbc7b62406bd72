/**
 * The leader key is ours and the cluster follows another one (`standby_cluster`): this node streams from there, the
 * others from here, and nothing is promoted. The window stays closed all the time, so that whatever writes here all the
 * same is fenced like any other writer without one. Once the settings no longer name another cluster, leading.ts has the
 * word, and promotes with a window that is proven then.
 */
import type { Action } from '../action.ts';
import { describeRanking, rank, unfit } from '../candidate.ts';
import { type Holding, wanted } from '../classify.ts';
import type { ClusterView } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { contenders, heardLately } from '../election/heard.ts';
import { type LocalPostgres, position, type Standby, type Starting, type Stopped, startsInVain } from '../local.ts';
import { furthest, type Lsn, printLsn } from '../lsn.ts';
import { REMOTE, type RemoteSource } from '../policy.ts';
import { dueness } from '../schedule.ts';
import { describeSource, followedServer } from '../standby-cluster.ts';
import type { NodeName } from '../store.ts';
import { between, millis } from '../time.ts';
import { kinship } from '../timeline.ts';
import { type LearnedLineage, ownHistory, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';
import { others } from './leading.ts';
import { restartAsScheduled } from './restarting.ts';

/** After so many failed starts Postgres does not come up here. */
const STARTS = 3;
/** After so many failed rewinds the directory is copied anew. */
const REWINDS = 2;
/** After so many searches in vain the end of the local WAL counts as the last checkpoint. */
const SEARCHES = 3;
/** A standby leader that follows and receives nothing for so long has its history compared again. */
const RECOMPARE_MS = 5_000;
/** A former primary waits so long for the other cluster to tell its history; a standby of it harms nobody. */
const TELL_MS = 10_000;
const FRESH_LINEAGE_MS = 1_000;

export function leadStandbys(
  view: View,
  holding: Holding,
  cluster: ClusterView,
  source: RemoteSource | 'unknown',
): Decision {
  const { local } = view;
  // It may follow whatever it follows; who leads a cluster without settings decides nothing else.
  if (source === 'unknown')
    return decision(
      'standby-leader.settings-unknown',
      'this cluster followed another one, and its settings cannot be read: nothing is promoted',
    );
  switch (local.kind) {
    case 'primary':
      return demote(view, source);
    case 'standby':
      return local.failing === null
        ? (handOn(view, cluster, local) ?? restartAsScheduled(view) ?? receive(view, holding, local, source))
        : unwell(view, local.failing.said);
    case 'silent':
      return unwell(view, local.said);
    case 'stopped':
      return comeBack(view, holding, local, source);
    case 'starting':
      return whileStarting(local, source);
    case 'stopping':
      return decision('standby-leader.starting', 'Postgres is stopping', [], millis(100));
    case 'orphans':
      return decision('node.busy', `Postgres is ${local.kind}`);
    case 'absent':
    case 'half-made':
      return giveUp(view, `the data directory is ${local.kind}`);
    case 'unusable':
      return giveUp(view, local.sentence);
    default:
      return ((never: never) => never)(local);
  }
}

/** As for those who follow a leader: what is told to receive from nobody, or elsewhere, may wait for ever. */
function whileStarting(local: Starting, source: RemoteSource): Decision {
  if (local.follows === followedServer(source) || !startsInVain(local))
    return decision('standby-leader.starting', 'Postgres is starting as a standby', [], millis(100));
  return decision(
    'standby-leader.start-anew',
    `Postgres has been starting for ${Math.round(local.since / 1000)} s, waits for WAL, and is told to receive from ${local.follows ?? 'nobody'}, not from ${describeSource(source)}`,
    [{ do: 'stop-in-order' }],
  );
}

/** It was a primary until now: its writers go as in a switchover, with all their commits on the standbys. */
function demote(view: View, source: RemoteSource): Decision {
  const failed = (view.attempts.get('switchover')?.failures ?? 0) > 0;
  return decision(
    'standby-leader.demote',
    `standby_cluster is set: Postgres stops accepting writes, and follows ${describeSource(source)}`,
    [{ do: failed ? 'stop-in-order' : 'stop-for-switchover' }],
  );
}

function receive(view: View, holding: Holding, local: Standby, source: RemoteSource): Decision {
  const from = describeSource(source);
  const server = followedServer(source);
  const follows = local.follows === server && (server !== null || local.restores === true);
  if (!follows)
    return decision('standby-leader.follow', `${from} is followed from ${printLsn(position(local))} on`, [
      { do: 'follow', upstream: REMOTE },
    ]);
  if (server === null || local.receiver?.streaming === true)
    return decision('standby-leader.receiving', `receiving from ${from} at ${printLsn(position(local))}`);
  if (view.notStreamingSince === null || between(view.notStreamingSince, view.now) <= RECOMPARE_MS)
    return decision('standby-leader.waiting', `following ${from}; nothing received yet`, [], millis(200));
  const lineage = remoteLineage(view, holding, RECOMPARE_MS);
  if (lineage === null) {
    const question: Action = { do: 'learn-lineage', of: REMOTE };
    return decision('standby-leader.waiting', `nothing comes from ${from}: ask it for its history`, [question]);
  }
  if (lineage.systemId !== local.systemId)
    return decision(
      'standby-leader.waiting',
      `${from} serves system identifier ${lineage.systemId}, the data here is ${local.systemId}: check standby_cluster`,
    );
  const own = { timeline: local.timeline, end: position(local), history: ownHistory(lineage, local.timeline) };
  if (kinship(own, lineage).kind === 'same-line')
    return decision('standby-leader.waiting', `following ${from} on its line; nothing received yet`, [], millis(500));
  return decision(
    'standby-leader.diverged-stop',
    `we are at ${printLsn(position(local))} on timeline ${local.timeline}; ${from} is on ${lineage.timeline} and never had all of it`,
    [{ do: 'stop-in-order' }],
  );
}

/** Another member is asked for: it takes the key at once, and nobody has to stop for it. */
function handOn(view: View, cluster: ClusterView, local: Standby): Decision | null {
  const request = cluster.failover;
  if (request === null || !wanted(view, cluster)) return null;
  const no = (why: string): Decision => decision('switchover.refused', why, [{ do: 'drop-switchover-request', why }]);
  const late = request.scheduledAt === null ? null : view.switchoverDueIn;
  if (late !== null && dueness(late, view.policy.cluster.loopWait) === 'missed')
    return no(`it was scheduled for ${Math.round(-late / 1000)} s ago, and could not be done then`);
  if (request.leader !== null && request.leader !== view.self)
    return no(`the request names ${request.leader} as the leader, but the leader is ${view.self}`);
  const everybody = others(view);
  const names = request.candidate === null ? everybody : [request.candidate];
  if (names.length === 0) return no('there is no other member');
  if (!names.every((name) => everybody.includes(name))) return no(`there is no member ${request.candidate}`);
  const unheard = names.filter((name) => !heardLately(view, name));
  if (unheard.length > 0)
    return decision('switchover.check', `ask ${unheard.join(', ')} first`, [{ do: 'ask-peers', waitFor: names }]);
  const fit = rank(contenders(view, names).filter((one) => one.timeline === local.timeline));
  const best = fit[0];
  if (best === undefined) return no(names.map((name) => whyNot(view, name, local)).join('; '));
  return decision('standby-leader.hand-on', `${best.name} goes on; ranking: ${describeRanking(fit)}`, [
    { do: 'release', lsn: position(local), candidate: best.name, lost: null },
  ]);
}

function whyNot(view: View, name: NodeName, local: Standby): string {
  const answer = view.peers.get(name);
  if (answer?.kind !== 'answered') return `${name} does not answer`;
  const { timeline } = answer.status;
  return unfit(answer.status) ?? `${name} is on timeline ${timeline ?? '?'}, not ${local.timeline}`;
}

/** A standby that does not answer feeds nobody: it is ended, and started again. */
function unwell(view: View, said: string): Decision {
  const { reconnectAttempts, reconnectInterval } = view.policy.cluster;
  const count = view.failing?.count ?? 1;
  if (count <= reconnectAttempts)
    return decision(
      'leading.check-failed',
      `check ${count} of ${reconnectAttempts + 1} failed: ${said}; again in ${reconnectInterval / 1000} s`,
      [],
      reconnectInterval,
    );
  return decision('leading.give-up-silent', `${count} checks failed one after the other, last: ${said}`, [
    { do: 'stop-immediately' },
  ]);
}

/** Postgres is down: it comes back as a standby of the other cluster, after a rewind if it has what that one never had. */
function comeBack(view: View, holding: Holding, local: Stopped, source: RemoteSource): Decision {
  const starts = view.attempts.get('start')?.failures ?? 0;
  if (starts >= STARTS && others(view).length > 0) return giveUp(view, 'Postgres does not start here');
  const again = backingOff(view, 'start');
  if (again !== null) return again;
  const from = describeSource(source);
  const start = (why: string): Decision =>
    decision('standby-leader.start', why, [{ do: 'start-standby', upstream: REMOTE }]);
  // One that stopped because its history had parted is no primary either: what it learned then still counts.
  const parted = view.lineage?.of === REMOTE && view.lineage.term === holding.term;
  if (source.host === null || ((!local.wasPrimary || local.standbySignal) && !parted))
    return start(`started as a standby of ${from}`);
  const lineage = remoteLineage(view, holding, Number.POSITIVE_INFINITY);
  if (lineage === null) {
    if (between(view.localSince, view.now) > TELL_MS)
      return start(`${from} does not tell its history: started as a standby, which writes nothing`);
    return decision(
      'standby-leader.learn-lineage',
      `ask ${from} for its history, before it is followed`,
      [{ do: 'learn-lineage', of: REMOTE }],
      millis(300),
    );
  }
  if (lineage.systemId !== local.systemId)
    return decision(
      'joining.foreign-data',
      `${from} serves system identifier ${lineage.systemId}, the data here is ${local.systemId}: left alone`,
    );
  const searched = (view.attempts.get('find-end')?.failures ?? 0) >= SEARCHES;
  if (local.timeline !== lineage.timeline && view.endOfWal === null && !searched)
    return decision('standby-leader.learn-lineage', `${from} is on timeline ${lineage.timeline}: find our end of WAL`, [
      { do: 'find-end-of-wal' },
    ]);
  const walEnd = view.endOfWal ?? local.checkpoint;
  const end = furthest(walEnd, local.minRecoveryPoint);
  const kin = kinship({ timeline: local.timeline, end, history: ownHistory(lineage, local.timeline) }, lineage);
  if (kin.kind === 'same-line') return start(`our WAL up to ${printLsn(end)} is part of the history of ${from}`);
  if (between(lineage.at, view.now) > FRESH_LINEAGE_MS)
    return decision(
      'standby-leader.learn-lineage',
      `ask ${from} once more, before anything is undone`,
      [{ do: 'learn-lineage', of: REMOTE }],
      millis(300),
    );
  return undo(
    view,
    `${from} never had all of our WAL, which ends at ${printLsn(end)}`,
    local.minRecoveryPoint > walEnd,
  );
}

/**
 * As for any other member that has diverged: a rewind, then a copy, where the settings allow it.
 *
 * @param lacksWal - its pages are newer than its WAL, by which a rewind goes
 */
function undo(view: View, why: string, lacksWal: boolean): Decision {
  const { usePgRewind, removeDataDirectoryOnRewindFailure, removeDataDirectoryOnDivergedTimelines } =
    view.policy.cluster;
  const rewinds = view.attempts.get('rewind')?.failures ?? 0;
  if (usePgRewind && rewinds < REWINDS && !lacksWal)
    return backingOff(view, 'rewind') ?? decision('standby-leader.rewind', why, [{ do: 'rewind', source: REMOTE }]);
  // The directory is the last one of its cluster that the other members could be copied from: it is given to them first.
  const mayCopy = usePgRewind ? removeDataDirectoryOnRewindFailure : removeDataDirectoryOnDivergedTimelines;
  if (!mayCopy) return decision('rejoin.stuck', `${why}, and the settings forbid to replace the directory`);
  return (
    backingOff(view, 'copy') ??
    decision('standby-leader.copy', why, [{ do: 'copy', source: REMOTE, leader: REMOTE, wipe: true }])
  );
}

function remoteLineage(view: View, holding: Holding, youngerThan: number): LearnedLineage | null {
  const { lineage } = view;
  if (lineage === null || lineage.of !== REMOTE || lineage.term !== holding.term) return null;
  return between(lineage.at, view.now) > youngerThan ? null : lineage;
}

function giveUp(view: View, why: string): Decision {
  return decision('leading.cannot-lead', why, [{ do: 'release', lsn: endOf(view.local), candidate: null, lost: null }]);
}

/** A standby leader that leaves gives the key up before it stops: nothing waits for what it could still write. */
export function leaveStandbys(view: View): Decision {
  return decision('standby-leader.leaving', 'the service stops here: another member follows the other cluster', [
    { do: 'release', lsn: endOf(view.local), candidate: null, lost: null },
  ]);
}

function endOf(local: LocalPostgres): Lsn {
  if (local.kind === 'standby') return position(local);
  return local.kind === 'stopped' ? local.checkpoint : (0n as Lsn);
}
