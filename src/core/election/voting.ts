/** Synchronous replication in an election: whom the `sync` key lets lead, by what its voters say. */

import type { ClusterView, FailoverRequest } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { gateOpen } from '../gate.ts';
import { position, type Standby, type SystemId } from '../local.ts';
import type { Lsn, Timeline } from '../lsn.ts';
import type { PeerStatus } from '../peer.ts';
import { type SyncKey, standing, type Vote } from '../quorum.ts';
import { standbySource } from '../standby-cluster.ts';
import type { NodeName } from '../store.ts';
import { between, type Instant, laterBy, millis } from '../time.ts';
import type { View } from '../view.ts';
import { askedSince, FRESH_MS, mayReceive } from './heard.ts';

/** Somebody may have to outdo a voter before he leads. */
export const isCounted = (view: View, key: SyncKey): boolean =>
  key.quorum > 0 || view.policy.cluster.synchronous.mode === 'quorum';

/** By his own word. One who only had the key speaks of himself, not of whoever led before him. */
function lastLeaderIsDown(view: View): boolean {
  const release = view.gate?.beat?.release ?? null;
  return release !== null && release.unpromoted !== true;
}

/** Bounded, because a receiver may not end. In maintenance nobody ends one, and whoever asks for a leader vouches. */
export function receiversHaveTo(view: View): boolean {
  if (!gateOpen(view.gate, view.now) || lastLeaderIsDown(view) || view.policy.cluster.pause) return false;
  return between(view.leaderlessSince ?? view.now, view.now) < view.policy.cluster.siblingNodesDisconnectTimeout;
}

/**
 * A failover to a named member that an operator asks for while there is no leader. Or a switchover that he has asked a
 * leader for who runs Patroni: that one leaves no record of whom it chose, and the wish stands until somebody leads.
 */
export function byHand({ gate, lastLeader }: View, { failover }: ClusterView): FailoverRequest | null {
  if (failover === null || failover.candidate === null || failover.scheduledAt !== null) return null;
  if (failover.leader === null) return failover;
  return gate !== null && gate.beatless !== null && failover.leader === lastLeader ? failover : null;
}

/** With `synchronous_mode: on` only those who have every commit for certain may lead. */
export function isMember(view: Pick<View, 'policy'>, cluster: ClusterView, name: NodeName): boolean {
  const key = cluster.sync?.key ?? null;
  if (key === null || view.policy.cluster.synchronous.mode === 'quorum') return true;
  return key.leader === name || key.voters.includes(name);
}

/**
 * Somebody promised with the `sync` key that no commit is acknowledged before enough of its voters have it. Who wants
 * to lead has to be sure of having them all.
 *
 * @param first - `asked first`: nobody need have been asked yet
 */
export function heldBySync(
  view: View,
  cluster: ClusterView,
  local: Standby,
  first: 'asked' | 'asked first' = 'asked',
): Decision | null {
  const { sync } = cluster;
  if (sync === null || (sync.key === null && !sync.garbled) || followsAnother(view, cluster)) return null;
  if (byHand(view, cluster)?.candidate === view.self && byHand(view, cluster)?.forced === true) return null;
  const since = electionBegan(view);
  if (sync.key === null) {
    return decision(
      'leaderless.wait-for-voters',
      'the key sync cannot be read: nobody knows who has every acknowledged commit; an operator has to say who leads',
      [],
      millis(1_000),
    );
  }
  const { key } = sync;
  // The last leader's own word: nothing was acknowledged beyond it.
  const release = view.gate?.beat?.release ?? null;
  if (release?.candidate === view.self && position(local) >= release.lsn) return null;
  if (!isMember(view, cluster, view.self)) {
    return decision(
      'leaderless.not-synchronous',
      `${view.self} is not a synchronous standby: ${[...key.voters, key.leader].join(' or ')} has to come back`,
      [],
      millis(1_000),
    );
  }
  const voters = key.voters.filter((name) => name !== view.self);
  if (first === 'asked first' && !voters.every((name) => askedSince(view, name, since))) {
    if (key.leader !== view.self && voters.length > 0)
      return decision('leaderless.ask-peers', `ask ${voters.join(', ')} for their positions`, [
        { do: 'ask-peers', waitFor: voters },
      ]);
  }
  const votes = votesFor(view, key, local);
  const verdict = standing(key, view.self, votes);
  if (verdict.kind === 'may-win') return heldByVotersReceivers(view, key, votes);
  const { by, missing, ahead } = verdict;
  const known = [
    ...(missing.length === 0 ? [] : [`${missing.join(', ')} cannot be seen`]),
    ...(ahead.length === 0 ? [] : [`${ahead.join(', ')} ${ahead.length === 1 ? 'is' : 'are'} further`]),
  ];
  const back = [...missing, ...(missing.includes(key.leader) ? [] : [key.leader])];
  return decision(
    'leaderless.wait-for-voters',
    key.voters.length === 0
      ? `only ${key.leader}, who led last, has every acknowledged commit for certain: wait for it`
      : `${by} more of the voters ${key.voters.join(', ')} must be seen to have nothing that ${view.self} lacks (quorum ${key.quorum}): ${known.join('; ')}; wait for ${back.join(' or ')}`,
    [{ do: 'ask-peers', waitFor: voters }],
    millis(500),
  );
}

/** Whether the `sync` key would let this one lead at best, with all other voters there and behind. */
export function mayHaveAll({ sync }: ClusterView, name: NodeName): boolean {
  const key = sync?.key ?? null;
  if (key === null) return true;
  const votes = key.voters.filter((voter) => voter !== name).map((voter): Vote => ({ name: voter, heard: 'outdone' }));
  return standing(key, name, votes).kind === 'may-win';
}

/** A position that may still grow by what the last leader sends counts only where it decides nothing. */
function heldByVotersReceivers(view: View, key: SyncKey, votes: readonly Vote[]): Decision | null {
  const receiving = receiversHaveTo(view)
    ? votes.map(({ name }) => name).filter((name) => mayReceive(view, name) === true)
    : [];
  const final = votes.map((vote): Vote => (receiving.includes(vote.name) ? { ...vote, heard: null } : vote));
  if (standing(key, view.self, final).kind === 'may-win') return null;
  return decision(
    'leaderless.wait-for-receivers',
    `${receiving.join(', ')} may still acknowledge commits of the last leader: wait until the receivers have ended`,
    [{ do: 'ask-peers', waitFor: receiving }],
    millis(30),
  );
}

/** What the voters other than this node say about it, as a candidate. */
function votesFor(view: View, key: SyncKey, local: Standby): readonly Vote[] {
  const mine = { systemId: local.systemId, timeline: local.timeline, position: position(local) };
  const since = electionBegan(view);
  return key.voters.filter((name) => name !== view.self).map((name) => voteOf(view, name, mine, since));
}

/** Behind a gate that only an operator opens there is no election that began at some time. */
const electionBegan = (view: View): Instant => view.leaderlessSince ?? laterBy(view.now, millis(-FRESH_MS));

/**
 * Whether it is proved that no commit that waited for synchronous standbys is missing here: the last leader said that it
 * is down, or those who were outdone could not acknowledge anything of his any more when they were asked.
 */
export function provesSynchronous(view: View, cluster: ClusterView): boolean {
  const key = cluster.sync?.key ?? null;
  if (key === null || view.local.kind !== 'standby') return false;
  if (lastLeaderIsDown(view)) return true;
  const final = votesFor(view, key, view.local).map(
    (vote): Vote => (mayReceive(view, vote.name) === false ? vote : { ...vote, heard: null }),
  );
  return standing(key, view.self, final).kind === 'may-win';
}

/** Where a candidate stands, and in which cluster. */
export interface Stand {
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  readonly position: Lsn;
}

/** What a voter's answer says about a candidate that stands at `mine`. Only one that was asked behind the gate counts. */
function voteOf(view: View, name: NodeName, mine: Stand, since: Instant): Vote {
  const answer = view.peers.get(name);
  const said = answer?.kind === 'answered' && askedSince(view, name, since) ? answer.status : null;
  return { name, heard: said === null ? null : compared(said, mine) };
}

/** null: it does not know yet how far its own WAL reaches, or runs as something else than a standby of this cluster. */
export function compared(said: PeerStatus, mine: Stand): Vote['heard'] {
  if (said.state !== 'running' || !said.inRecovery || !said.positionFinal || said.outdated) return null;
  if (said.timeline === null || said.position === null || said.systemId !== mine.systemId) return null;
  // What is on an older timeline and not part of ours was acknowledged by nobody.
  if (said.timeline !== mine.timeline) return said.timeline < mine.timeline ? 'outdone' : 'ahead';
  return said.position <= mine.position ? 'outdone' : 'ahead';
}

export const followsAnother = (view: View, cluster: ClusterView): boolean =>
  standbySource(view.policy, cluster) !== null;
