/**
 * Somebody else leads and our Postgres runs: receive from him, or from the standby that was configured, once the history
 * of both is known to contain ours.
 */
import type { ClusterView, LeaderKey, Member } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { isCounted } from '../election/voting.ts';
import { isYoung } from '../gate.ts';
import { position, type Standby, type Starting, startsInVain } from '../local.ts';
import { printLsn } from '../lsn.ts';
import { standbySource } from '../standby-cluster.ts';
import { between, millis } from '../time.ts';
import { kinship } from '../timeline.ts';
import { chooseUpstream, toldToFollow, type UpstreamChoice } from '../upstream.ts';
import { type LearnedLineage, memberNamed, ownHistory, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';
import { restartAsScheduled } from './restarting.ts';

/** A standby that follows and receives nothing for so long has its history compared again. */
const RECOMPARE_MS = 5_000;
/** What cannot be written (a full disk) is tried again this often at least: there may be room at any moment. */
const FOLLOW_AGAIN_MS = 5_000;
/** The leader's lineage is asked for again after this while we wait for it to be promoted. */
const ASK_AGAIN_MS = 50;
/** etcd is read again after this while we wait for a beat. */
const UNHEARD_AGAIN_MS = 200;

export function follow(view: View, cluster: ClusterView, leader: LeaderKey): Decision {
  const { local } = view;
  switch (local.kind) {
    case 'standby':
      return restartAsScheduled(view) ?? asStandby(view, cluster, leader, local);
    case 'starting':
      return whileStarting(view, cluster, leader, local);
    case 'stopping':
      return decision('following.starting', 'Postgres is stopping', [], millis(100));
    case 'primary':
    case 'silent':
    case 'orphans':
      return decision('fence.without-window', `${leader.name} leads, and Postgres here is ${local.kind}`, [
        { do: 'stop-immediately' },
      ]);
    case 'absent':
    case 'half-made':
    case 'stopped':
    case 'unusable':
      return decision('node.busy', `Postgres is ${local.kind}`);
    default:
      return ((never: never) => never)(local);
  }
}

/**
 * A standby whose pages are newer than its WAL, as after a rewind that was cut off from its source, takes no connections
 * before it has received the rest. Told to receive from nobody, or from a leader of earlier days, it would wait for ever.
 * It is stopped, not told anew: whether its history is the leader's is compared before it receives from him.
 */
function whileStarting(view: View, cluster: ClusterView, leader: LeaderKey, local: Starting): Decision {
  const sources = [memberNamed(cluster, leader.name), toldSource(view, cluster)];
  const fed = sources.some((source) => source !== null && local.follows === `${source.host}:${source.port}`);
  if (fed || sources[0]?.host == null || view.policy.node.noStream === true || !startsInVain(local))
    return decision('following.starting', 'Postgres is starting as a standby', [], millis(100));
  return decision(
    'following.start-anew',
    `Postgres has been starting for ${Math.round(local.since / 1000)} s, waits for WAL, and is told to receive from ${local.follows ?? 'nobody'}, not from ${leader.name}`,
    [{ do: 'stop-in-order' }],
  );
}

/** The member that this one was told to stream from, if it can be received from. */
function toldSource(view: View, cluster: ClusterView): Member | null {
  const self = memberNamed(cluster, view.self);
  const told = self === null ? null : toldToFollow(self);
  const source = told === null ? null : memberNamed(cluster, told);
  return source?.state === 'running' || source?.state === 'starting' ? source : null;
}

function asStandby(view: View, cluster: ClusterView, leader: LeaderKey, local: Standby): Decision {
  if (view.policy.node.noStream === true) return fromArchive(view, cluster, leader, local);
  const receivesNothing = local.follows === null && local.receiver === null;
  const unheard = receivesNothing ? awaitsBeat(view, cluster, leader) : null;
  if (unheard !== null) return unheard;
  const choice = chooseUpstream(view, cluster, leader, local, lineageOf(view, leader));
  return askFirst(view, leader, choice, receiveFrom(view, cluster, leader, local, choice));
}

/** Tagged `nostream`: what the archive brings is the leader's as long as ours is part of his line. */
function fromArchive(view: View, cluster: ClusterView, leader: LeaderKey, local: Standby): Decision {
  const lineage = lineageOf(view, leader);
  const ask = { do: 'learn-lineage', of: leader.name } as const;
  if (lineage === null)
    return decision(
      'following.learn-lineage',
      `${leader.name} leads: compare its history with ours`,
      [ask],
      millis(500),
    );
  if (lineage.inRecovery && standbySource(view.policy, cluster) === null)
    return decision('following.leader-not-ready', `${leader.name} is not promoted yet`, [ask], millis(ASK_AGAIN_MS));
  const own = { timeline: local.timeline, end: position(local), history: ownHistory(lineage, local.timeline) };
  if (kinship(own, lineage).kind !== 'same-line')
    return decision(
      'following.diverged-stop',
      `we are at ${printLsn(position(local))} on timeline ${local.timeline}; ${leader.name} is on ${lineage.timeline} and never had all of it`,
      [{ do: 'stop-in-order' }],
    );
  if (local.follows !== null)
    return decision('following.follow', 'tagged nostream: WAL comes from the archive alone', [
      { do: 'follow', upstream: null },
    ]);
  return decision('following.archive', `fed by the archive up to ${printLsn(position(local))}`);
}

/**
 * A voter that has ended its receiver may have said so to a candidate, before its daemon was restarted: what the candidate
 * does rests on it. So it receives again only behind a beat of the leader's that is too young for anybody to be elected.
 *
 * @returns null: nothing stands against it
 */
export function awaitsBeat(view: View, { sync }: ClusterView, leader: LeaderKey): Decision | null {
  const { gate } = view;
  const key = sync?.key ?? null;
  if (key === null || !key.voters.includes(view.self) || !isCounted(view, key)) return null;
  if (gate?.beat?.term !== leader.term || isYoung(gate, view.now)) return null;
  return decision(
    'following.leader-unheard',
    `${leader.name} holds the key and may be gone; ${view.self} may have said that it receives nothing: the next beat is waited for`,
    [],
    millis(UNHEARD_AGAIN_MS),
  );
}

/** Another standby that could feed this one is asked for its history, beside what is done or instead of a detour. */
function askFirst(view: View, leader: LeaderKey, choice: UpstreamChoice, otherwise: Decision): Decision {
  const { ask } = choice;
  if (ask === null || otherwise.actions.some((action) => action.do !== 'follow')) return otherwise;
  // What the leader's line is has to be known first.
  const of = lineageOf(view, leader) === null ? leader.name : ask;
  const question = { do: 'learn-lineage', of } as const;
  if (otherwise.actions.length === 0) return { ...otherwise, actions: [question] };
  return decision('following.learn-lineage', `${ask} is to be followed: compare its history with ours`, [question]);
}

function receiveFrom(
  view: View,
  cluster: ClusterView,
  leader: LeaderKey,
  local: Standby,
  choice: UpstreamChoice,
): Decision {
  const { name: from, instead, silent } = choice;
  const member = memberNamed(cluster, leader.name);
  const upstream = memberNamed(cluster, from);
  if (member?.host == null || member.port == null || upstream === null) {
    return decision(
      'following.leader-not-ready',
      `${leader.name} holds the key; its address is not known yet`,
      [],
      millis(200),
    );
  }
  const follows = local.follows === `${upstream.host}:${upstream.port}`;
  const stuck = view.notStreamingSince !== null && between(view.notStreamingSince, view.now) > RECOMPARE_MS;
  if (follows && local.receiver?.streaming === true && !onOlderLine(local, member)) {
    const sentence = `receiving from ${from} at ${printLsn(position(local))}`;
    return instead === null
      ? decision('following.streaming', sentence)
      : decision('following.upstream-away', `${sentence}: ${instead}`);
  }
  if (follows && !stuck && !onOlderLine(local, member)) {
    return decision('following.waiting-to-stream', `following ${from}; nothing received yet`, [], millis(200));
  }

  const lineage = lineageOf(view, leader, stuck);
  if (lineage === null) {
    return decision(
      'following.learn-lineage',
      `${leader.name} leads: compare its history with ours`,
      [{ do: 'learn-lineage', of: leader.name }],
      millis(200),
    );
  }
  if (lineage.inRecovery && standbySource(view.policy, cluster) === null) {
    return decision(
      'following.leader-not-ready',
      `${leader.name} has the key and is not promoted yet`,
      [{ do: 'learn-lineage', of: leader.name }],
      millis(ASK_AGAIN_MS),
    );
  }
  const history = ownHistory(lineage, local.timeline);
  const kin = kinship({ timeline: local.timeline, end: position(local), history }, lineage);
  if (kin.kind === 'same-line') {
    if (follows)
      return decision(
        'following.waiting-to-stream',
        `following ${from} on the line of ${leader.name}; nothing received yet`,
        [],
        millis(500),
      );
    const again = backingOff(view, 'follow', FOLLOW_AGAIN_MS);
    if (again !== null) return again;
    if (silent !== null) {
      return decision('following.upstream-silent', `${instead ?? `${silent} sends nothing`}: ${from} is followed`, [
        { do: 'follow', upstream: from, silent },
      ]);
    }
    return decision(
      'following.follow',
      `${from === leader.name ? '' : `${from} is followed; `}${leader.name} is on timeline ${lineage.timeline}; ours (${local.timeline}, ${printLsn(position(local))}) is part of it${instead === null ? '' : `; ${instead}`}`,
      [{ do: 'follow', upstream: from }],
    );
  }
  const left = local.timeline === lineage.timeline ? 'came there another way, which left ours' : 'left ours';
  const where = kin.kind === 'diverged' ? `it ${left} at ${printLsn(kin.at)}` : 'it has never been on ours';
  return decision(
    'following.diverged-stop',
    `we are at ${printLsn(position(local))} on timeline ${local.timeline}; ${leader.name} is on ${lineage.timeline}, and ${where}`,
    [{ do: 'stop-in-order' }],
  );
}

/** `streaming` for a moment is not following: a diverged standby shows it too. Only the leader's timeline counts. */
function onOlderLine(local: Standby, leader: Member): boolean {
  return leader.timeline !== null && local.receiver !== null && local.receiver.timeline < leader.timeline;
}

/** What was learned about this leader in this term, and late enough to speak of a promoted server. */
export function lineageOf(view: View, leader: LeaderKey, again = false): LearnedLineage | null {
  const { lineage, local } = view;
  if (lineage === null || lineage.of !== leader.name || lineage.term !== leader.term) return null;
  // A standby that was still fed by somebody else, who was on a line of the same number, came onto that one meanwhile.
  const here = local.kind === 'standby' || local.kind === 'stopped' ? local.timeline : null;
  if (here !== null && lineage.ourTimeline !== null && here !== lineage.ourTimeline) return null;
  // "Not promoted yet" is asked again with each look, and said once.
  return again &&
    (!lineage.inRecovery || view.policy.cluster.standbyCluster !== undefined) &&
    between(lineage.at, view.now) > RECOMPARE_MS
    ? null
    : lineage;
}
