/** What holds an election back for a while, whoever is the best candidate. */

import { isReturning } from '../candidate.ts';
import type { ClusterView } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { position, type Standby } from '../local.ts';
import { distance, type Lsn, printLsn } from '../lsn.ts';
import type { PeerStatus } from '../peer.ts';
import type { NodeName } from '../store.ts';
import { between, type Instant, millis } from '../time.ts';
import type { View } from '../view.ts';
import { describeSightings, isPrimaryNoMore, kinAnswer, lastAnswer, sightings } from './heard.ts';

/**
 * `primary_visibility_consensus`: whoever saw the last leader's Postgres alive within two monitor intervals is positive
 * evidence against the gate's arithmetic. Bounded, because one with a half-open view would block for ever.
 */
export function heldByConsensus(
  view: View,
  others: readonly NodeName[],
  lost: NodeName | null,
  since: Instant,
): Decision | null {
  const { primaryVisibilityConsensus, ttl, loopWait } = view.policy.cluster;
  // Whether we write ourselves is not for others to say.
  if (!primaryVisibilityConsensus || lost === null || lost === view.self) return null;
  // A ping, and a receiver, see a server; that it is a primary they do not see.
  if (isPrimaryNoMore(view, lost)) return null;
  const seen = sightings(view, others, lost).filter(({ age }) => age < 2 * loopWait);
  const left = ttl - between(since, view.now);
  if (seen.length === 0 || left <= 0) return null;
  return decision(
    'leaderless.seen-by-others',
    `${describeSightings(lost, seen)}: no election while that is so, for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: seen.map(({ by }) => by).filter((by) => by !== view.self) }],
    millis(Math.max(1, Math.min(250, left))),
  );
}

/** Two sites that lost each other: the one without the leader cannot know whether he is gone, or only out of sight. */
export function heldByLocation(view: View, others: readonly NodeName[], since: Instant): Decision | null {
  const { locationPolicy, ttl } = view.policy.cluster;
  const theirs = view.lastLeaderLocation;
  const ours = view.policy.node.location;
  if (locationPolicy === 'off' || theirs === null || theirs === ours) return null;
  if (others.some((name) => lastAnswer(view, name)?.status.location === theirs)) return null;
  const left = ttl - between(since, view.now);
  if (locationPolicy === 'prefer' && left <= 0) return null;
  const until = locationPolicy === 'prefer' ? `for up to ${Math.ceil(left)} ms more` : 'until one of them can be seen';
  return decision(
    'leaderless.location',
    `the last leader is in ${theirs}, ${view.self} in ${ours}, and nobody in ${theirs} answers: no election here ${until} (location_policy ${locationPolicy})`,
    // Everybody is waited for: when the first of them is seen again, the others must have had their chance.
    [{ do: 'ask-peers', waitFor: others }],
    millis(locationPolicy === 'prefer' ? Math.max(1, Math.min(500, left)) : 500),
  );
}

/**
 * Somebody whose Postgres is down or starting may hold more than all standbys: a primary that was fenced and is back, or
 * any node after all of them went down. It comes up as a standby first, and then its position counts: when it has more
 * than we, it goes first, for which it may have to wait at its gate, or we receive it from there. Bounded, because it may
 * never come up, or not be allowed to lead.
 */
export function heldByReturning(view: View, local: Standby, others: readonly NodeName[]): Decision | null {
  const { ttl } = view.policy.cluster;
  const coming: { readonly what: string; readonly name: NodeName; readonly left: number }[] = [];
  for (const name of others) {
    const said = kinAnswer(view, name);
    const since = view.returningSince.get(name);
    if (said === null || since === undefined) continue;
    const left = ttl - between(since, view.now);
    if (left <= 0) continue;
    if (isReturning(said))
      coming.push({ what: `Postgres of ${name} (${said.state}) may hold more and is coming up`, name, left });
    else if (isFurther(said, local)) coming.push({ what: `${name} is back and has more`, name, left });
  }
  if (coming.length === 0) return null;
  const left = Math.max(...coming.map((one) => one.left));
  return decision(
    'leaderless.wait-for-returning',
    `${coming.map(({ what }) => what).join(', ')}: wait for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: coming.map(({ name }) => name) }],
    millis(150),
  );
}

export function isFurther(
  { timeline, position: at }: Pick<PeerStatus, 'timeline' | 'position'>,
  local: Standby,
): boolean {
  if (timeline === null || at === null) return false;
  return timeline === local.timeline ? at > position(local) : timeline > local.timeline;
}

/** `standby_disconnect_on_failover`: positions that still grow cannot be compared. */
export function heldByReceivers(
  view: View,
  cluster: ClusterView,
  local: Standby,
  others: readonly NodeName[],
  since: Instant,
): Decision | null {
  const { standbyDisconnectOnFailover, siblingNodesDisconnectTimeout, maximumLagOnFailoverBytes } = view.policy.cluster;
  const left = siblingNodesDisconnectTimeout - between(since, view.now);
  if (!standbyDisconnectOnFailover || left <= 0) return null;
  const end = endReceiver(local);
  if (end !== null) return end;
  const known = cluster.status?.optime ?? null;
  // One that lags too far to lead goes on receiving, as it may yet catch up; it would be waited for in vain.
  const counts = (at: Lsn | null): boolean =>
    known === null || at === null || distance(at, known) <= maximumLagOnFailoverBytes;
  const receiving = others.filter((name) => {
    const said = kinAnswer(view, name);
    // Without etcd, which is where its key has gone, nobody wins, and nobody ends his receiver for an election.
    const canWin = cluster.members.some((member) => member.name === name);
    return canWin && said?.receiving === true && counts(said.position);
  });
  if (receiving.length === 0) return null;
  return decision(
    'leaderless.wait-for-receivers',
    `${receiving.join(', ')} still receive${receiving.length === 1 ? 's' : ''}: wait for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: receiving }],
    millis(100),
  );
}

/**
 * The last leader's record says where his WAL ends, and the one to whom it was brought may not go (a veto). Who lacks some
 * of it waits for the stream as long as somebody is there who has it; bounded, because it may never come.
 */
export function heldByRecord(view: View, local: Standby, others: readonly NodeName[], since: Instant): Decision | null {
  const end = view.gate?.beat?.release?.lsn ?? null;
  const left = view.policy.cluster.ttl - between(since, view.now);
  if (end === null || position(local) >= end || left <= 0) return null;
  const has = others.find((name) => (kinAnswer(view, name)?.position ?? end - 1n) >= end);
  if (has === undefined) return null;
  return decision(
    'leaderless.stand-back',
    `${has} has all WAL up to ${printLsn(end)}, of which we lack ${distance(position(local), end)} bytes: wait for it for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: [has] }],
    millis(100),
  );
}

/** null: none runs, and none will. */
export function endReceiver(local: Standby): Decision | null {
  // Before 13 a change of primary_conninfo needs a restart, and a standby that restarts is no candidate for seconds.
  if (local.version >= 130_000 && (local.receiver !== null || local.follows !== null)) {
    return decision(
      'leaderless.stop-receiving',
      `end our receiver at ${printLsn(position(local))}, before positions are compared`,
      [{ do: 'stop-receiving' }],
    );
  }
  return null;
}
