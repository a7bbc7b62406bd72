/**
 * The operator has the wheel: pgha watches, keeps the key, and changes nothing but what it has left half done and what he
 * asks for by name: a switchover or failover to one member.
 */
import type { ClusterView, Member } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { heardLately, runsAsPrimary, statusOf } from '../election/heard.ts';
import { lastPrimaryAlive } from '../election/last-primary.ts';
import { gateOpen } from '../gate.ts';
import { position, type Standby } from '../local.ts';
import { standbySource } from '../standby-cluster.ts';
import type { NodeName } from '../store.ts';
import { between } from '../time.ts';
import type { View } from '../view.ts';
import { backingOff } from './backing-off.ts';
import { follow } from './following.ts';
import { seekLeader, take } from './leaderless.ts';
import { beforePromotion, comeBackHere, handOver } from './leading.ts';
import { rejoin } from './rejoining.ts';

type Holding = Extract<View['leadership'], { kind: 'holding' }>;

export function standAside(view: View): Decision {
  return (
    asAsked(view) ??
    makesWay(view) ??
    keepsTheKey(view) ??
    comesBack(view) ??
    takesUpstreamAgain(view) ??
    decision('maintenance.hands-off', `the cluster is paused; Postgres here is ${view.local.kind}`)
  );
}

/** Whom the operator wants to lead, now; what is scheduled is not looked at in maintenance. */
function wish({ failover }: ClusterView): NodeName | null {
  return failover === null || failover.scheduledAt !== null ? null : failover.candidate;
}

/** A switchover or a failover, from the moment on at which the leader has checked it (switching-over.ts). */
function asAsked(view: View): Decision | null {
  const { dcs, leadership, local, self } = view;
  if (dcs.kind !== 'read') return null;
  const { cluster } = dcs;
  const candidate = wish(cluster);
  if (leadership.kind === 'holding') {
    if (local.kind === 'stopped' && standbySource(view.policy, cluster) === null) {
      if (candidate !== null && candidate !== self) return handOver(view, leadership, cluster);
      // It was stopped for somebody whom nobody asks for any more.
      return view.handedOver ? comeBackHere(view, leadership, local, 'nobody is to take over any more') : null;
    }
    if (local.kind !== 'standby' || local.failing !== null || candidate === null) return null;
    if (candidate !== self) return passOn(view, local, candidate);
    return standbySource(view.policy, cluster) === null ? promoteAsAsked(view, leadership) : null;
  }
  if (candidate !== self || local.kind !== 'standby' || cluster.leader !== null || !dcs.answering) return null;
  const alive = lastPrimaryAlive(view, cluster);
  if (alive !== null) return alive;
  const found = seekLeader(view, cluster);
  // He has named this node; an election is something else.
  const isElection = found.rule === 'leaderless.acquire';
  return !isElection && found.actions.every(({ do: does }) => does === 'acquire' || does === 'ask-peers')
    ? found
    : null;
}

function promoteAsAsked(view: View, holding: Holding): Decision {
  const failed = view.attempts.get('promote');
  if (failed === undefined || failed.failures === 0 || failed.lastFailedAt < holding.since)
    return beforePromotion(view, holding);
  const why = `the promotion failed: ${failed.said}`;
  return decision('switchover.refused', why, [{ do: 'drop-switchover-request', why }]);
}

/** This node has the key and was never promoted: everybody who has its WAL may lead in its place. */
function passOn(view: View, local: Standby, candidate: NodeName): Decision {
  return decision(
    'leading.hand-over',
    `an operator asks for ${candidate}, and ${view.self} has the key without having been promoted`,
    [{ do: 'release', lsn: position(local), candidate, lost: null }],
  );
}

/**
 * The operator has promoted another member by hand, and this one, which has the key, does not accept writes: with the key
 * here, that one would be ended when maintenance ends, and its line given up.
 */
function makesWay(view: View): Decision | null {
  const { leadership, local, dcs, self } = view;
  if (leadership.kind !== 'holding' || dcs.kind !== 'read' || !dcs.answering) return null;
  if (local.kind !== 'standby' && (local.kind !== 'stopped' || view.handedOver)) return null;
  const claims = (member: Member): boolean => member.name !== self && member.role === 'primary';
  const claimants = dcs.cluster.members.filter(claims).map((member) => member.name);
  if (claimants.length === 0) return null;
  if (!claimants.every((name) => heardLately(view, name)))
    return decision('leaderless.ask-peers', `${claimants.join(', ')} may have been promoted by hand: ask`, [
      { do: 'ask-peers', waitFor: claimants },
    ]);
  const [primary, ...more] = claimants.filter((name) => {
    const status = statusOf(view, name);
    return runsAsPrimary(status) && status?.systemId === local.systemId && (status.timeline ?? 0) >= local.timeline;
  });
  // Two of them: which one is right is the operator's to say.
  if (primary === undefined || more.length > 0) return null;
  const at = local.kind === 'standby' ? position(local) : (view.endOfWal ?? local.checkpoint);
  return decision(
    'maintenance.makes-way',
    `${primary} was promoted by hand, and Postgres here is ${local.kind}: the key is for ${primary}`,
    [{ do: 'release', lsn: at, candidate: primary, lost: null, endless: true }],
  );
}

/**
 * The service was stopped for longer than a TTL while its primary ran on: the key is gone, and nobody may promote as long
 * as the last word is that of a leader in maintenance. Without the key this primary would be ended when maintenance ends,
 * and nobody could follow it. The same for one that was promoted by hand.
 */
function keepsTheKey(view: View): Decision | null {
  const { local, dcs, gate, self } = view;
  if (view.leadership.kind !== 'none' || local.kind !== 'primary' || dcs.kind !== 'read' || !dcs.answering) return null;
  const { cluster } = dcs;
  if (cluster.leader !== null || cluster.initialize?.value !== local.systemId || gate === null) return null;
  if (gate.opensAt !== 'never' && !gateOpen(gate, view.now)) return null;
  // Two of them: which one is right is the operator's to say.
  if (cluster.members.some((member) => member.name !== self && member.role === 'primary')) return null;
  if (cluster.history.some((line) => line.timeline >= local.timeline)) return null;
  return take(view, cluster, 'leaderless.acquire', 'in maintenance, the primary that runs here takes the free key', {
    adopting: true,
    despitePause: true,
  });
}

/** This process has stopped its Postgres to hand over: it is a standby of the new leader now, as the operator expects. */
function comesBack(view: View): Decision | null {
  const { handedOver, leadership, local, dcs } = view;
  if (!handedOver || leadership.kind !== 'none' || local.kind !== 'stopped') return null;
  if (dcs.kind !== 'read' || !dcs.answering) return null;
  const { leader } = dcs.cluster;
  if (leader === null) {
    // Nobody took it: with a Postgres that runs the operator can say who is to lead, this node too.
    if (between(view.localSince, view.now) < view.policy.cluster.ttl) return null;
    return (
      backingOff(view, 'start') ??
      decision('leaderless.start-standby', 'Postgres was stopped to hand over, and nobody has taken the key', [
        { do: 'start-standby', upstream: null },
      ])
    );
  }
  if (leader.name === view.self) return null;
  const found = rejoin(view, dcs.cluster, leader);
  const harmless: ReadonlySet<string> = new Set(['start-standby', 'learn-lineage', 'find-end-of-wal']);
  if (found.actions.every((action) => harmless.has(action.do))) return found;
  return decision('maintenance.hands-off', `after maintenance: ${found.reason}`);
}

/**
 * Maintenance began in the middle of an election, for which this standby had ended its receiver: the operator finds it as
 * it was. Or the leader has changed in maintenance, as he wanted. Only towards a leader on our own line.
 */
function takesUpstreamAgain(view: View): Decision | null {
  const { local, dcs } = view;
  if (local.kind !== 'standby' || dcs.kind !== 'read' || !dcs.answering) return null;
  const { cluster } = dcs;
  const { leader, config } = cluster;
  if (leader === null || leader.name === view.self) return null;
  const changed = config !== null && leader.term > config.revision;
  if (!view.withdrawn && !changed) return null;
  const found = follow(view, cluster, leader);
  const harmless = found.actions.every((action) => action.do === 'follow' || action.do === 'learn-lineage');
  return harmless && (view.withdrawn || found.actions.length > 0) ? found : null;
}
