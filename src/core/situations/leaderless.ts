/**
 * Nobody's window can be open, or soon will not be: who takes the key? Behind the gate everybody is asked for his
 * position, the best candidate takes the key in one transaction, and the others stand back in order of rank, so that
 * two do not collide and the next one goes when the first fails.
 */
import { type Contender, compareContenders, contender, describeRanking, rank } from '../candidate.ts';
import { adoptable } from '../classify.ts';
import type { ClusterView, FailoverRequest } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { gateOpen } from '../gate.ts';
import { position, type Standby } from '../local.ts';
import { distance, printLsn } from '../lsn.ts';
import type { NodeName, Revision } from '../store.ts';
import { between, type Instant, millis } from '../time.ts';
import type { View } from '../view.ts';
import { backingOff } from './backing-off.ts';

/** How long each better candidate is given before the next one goes. */
const STAND_BACK_MS = 400;
/** Answers of peers older than this are asked for again. */
const FRESH_MS = 2_000;

export function seekLeader(view: View, cluster: ClusterView): Decision {
  const { local } = view;
  switch (local.kind) {
    case 'standby':
      return asStandby(view, cluster, local);
    case 'stopped': {
      // The cluster that this node has just made, or brought along: nobody ever led it, so nobody else can hold newer
      // data, and it starts as the primary it was, on its own timeline, once the key is ours.
      if (cluster.status === null && local.timeline === 1 && local.wasPrimary && local.cleanly) {
        if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
        return take(view, cluster, 'leaderless.acquire', 'nobody has ever led this cluster, and its data is here');
      }
      // Everybody comes up as a standby first (protocol.md 26): only then do positions count, also after the whole
      // cluster was down.
      const again = backingOff(view, 'start');
      if (again !== null) return again;
      return decision('leaderless.start-standby', 'no leader, and Postgres is down here: start it as a standby', [
        { do: 'start-standby', upstream: null },
      ]);
    }
    case 'primary':
      // Anything else that writes without a window was fenced before this question is asked.
      if (!adoptable(view))
        return decision('leaderless.not-eligible', 'this primary was not started under a leadership');
      if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
      return take(view, cluster, 'leaderless.acquire', 'the running primary is taken in as it is', {
        adopting: true,
      });
    case 'absent':
    case 'half-made':
      return decision(
        'leaderless.wait-for-data',
        `no leader, and the data directory here is ${local.kind}: wait for a leader to copy from`,
      );
    case 'starting':
    case 'stopping':
    case 'silent':
    case 'orphans':
    case 'unusable':
      return decision('leaderless.not-eligible', `no leader, and Postgres here is ${local.kind}`, [], millis(200));
    default:
      return ((never: never) => never)(local);
  }
}

function asStandby(view: View, cluster: ClusterView, local: Standby): Decision {
  const unfit = whyNot(view, cluster, local);
  if (unfit !== null) return decision('leaderless.not-eligible', unfit, [], local.positionFinal ? null : millis(200));
  const request = byHand(cluster);
  if (request?.candidate === view.self && view.gate?.opensAt === 'never' && request.revision > view.gate.revision) {
    return take(
      view,
      cluster,
      'leaderless.chosen',
      'an operator fails over by hand: he vouches for the last leader, who went in maintenance',
      { despitePause: true },
    );
  }
  if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
  if (view.policy.cluster.failover === 'manual' && request === null) {
    return decision(
      'leaderless.manual',
      `failover is manual: ${view.self} could take over at ${printLsn(position(local))}`,
    );
  }
  const release = view.gate?.beat?.release ?? null;
  if (release !== null && release.candidate === view.self) {
    return take(
      view,
      cluster,
      'leaderless.chosen',
      `the last leader named ${view.self} when it gave the key up at ${printLsn(release.lsn)}`,
    );
  }
  if (request?.candidate === view.self) {
    return take(view, cluster, 'leaderless.chosen', `an operator asked for a failover to ${view.self}`);
  }
  return elect(view, cluster, local);
}

/** A failover to a named member that an operator asks for while there is no leader. */
function byHand(cluster: ClusterView): FailoverRequest | null {
  const { failover } = cluster;
  return failover !== null && failover.leader === null && failover.candidate !== null && failover.scheduledAt === null
    ? failover
    : null;
}

function elect(view: View, cluster: ClusterView, local: Standby): Decision {
  const since = view.leaderlessSince ?? view.now;
  const named = new Set([...cluster.members.map((member) => member.name), ...view.lately]);
  const others = [...named].filter((name) => name !== view.self);
  // The lost leader is asked too, but nobody waits for the one that is known to be gone.
  const lost = cluster.leader?.name ?? view.lastLeader;
  const waitFor = others.filter((name) => name !== lost);
  if (others.length > 0 && !others.some((name) => askedSince(view, name, since))) {
    return decision('leaderless.ask-peers', `no leader: ask ${others.join(', ')} for their positions`, [
      { do: 'ask-peers', waitFor },
    ]);
  }

  // Where nobody has ever led, a primary that runs without a window is one that is just being taken in.
  const neverLed = cluster.status === null;
  const writable = others.find((name) => {
    const answer = view.peers.get(name);
    if (answer?.kind !== 'answered' || between(answer.at, view.now) >= FRESH_MS) return false;
    return answer.status.writable || (neverLed && answer.status.state === 'running' && !answer.status.inRecovery);
  });
  // Positive evidence against the gate's arithmetic: hold back, but not for ever (one more TTL).
  if (writable !== undefined && (neverLed || between(since, view.now) < view.policy.cluster.ttl)) {
    return decision(
      'leaderless.primary-alive',
      neverLed
        ? `${writable} runs as a primary and nobody has ever led here: it is the one to lead`
        : `${writable} says that it is a writable primary: no election for up to another TTL`,
      [{ do: 'ask-peers', waitFor }],
      millis(500),
    );
  }

  const ranking = rank([ownContender(view, local), ...contenders(view, others)]);
  const place = ranking.findIndex((c) => c.name === view.self);
  // Somebody chosen by name in the release goes before the ranking.
  const chosen = view.gate?.beat?.release?.candidate ?? byHand(cluster)?.candidate ?? null;
  const before =
    place +
    (chosen !== null && chosen !== view.self && !ranking.slice(0, place).some((c) => c.name === chosen) ? 1 : 0);
  const goAt = STAND_BACK_MS * before;
  const waited = between(since, view.now);
  if (waited < goAt) {
    return decision(
      'leaderless.stand-back',
      `${ranking[0]?.name === view.self ? chosen : ranking[0]?.name} goes first; ranking: ${describeRanking(ranking)}`,
      [],
      millis(goAt - waited),
    );
  }
  return take(view, cluster, 'leaderless.acquire', `ranking: ${describeRanking(ranking)}`);
}

export function take(
  view: View,
  cluster: ClusterView,
  rule: 'leaderless.acquire' | 'leaderless.chosen',
  reason: string,
  how: { readonly adopting?: true; readonly despitePause?: true } = {},
): Decision {
  const status: Revision = view.gate?.revision ?? (0n as Revision);
  const standing = cluster.leader === null ? null : cluster.leader.term;
  const late =
    standing === null ? '' : `; the key of ${cluster.leader?.name ?? ''} still stands, but its window has closed`;
  const { adopting = false, ...more } = how;
  return decision(rule, reason + late, [{ do: 'acquire', status, standing, adopting, ...more }], millis(200));
}

export function waitAtTheGate(view: View): Decision {
  const opensAt = view.gate?.opensAt ?? 'never';
  if (opensAt === 'never') {
    return decision(
      'leaderless.at-the-gate',
      'the last leader went in maintenance, without saying for how long it may write: an operator has to resume or to fail over by hand',
    );
  }
  const left = between(view.now, opensAt);
  return decision(
    'leaderless.at-the-gate',
    `the last leader may still be writing for up to ${Math.ceil(left)} ms: nobody promotes before that`,
    [],
    millis(Math.max(1, left)),
  );
}

/** Why this standby may not become leader now; null: it may. */
function whyNot(view: View, cluster: ClusterView, local: Standby): string | null {
  const { node, cluster: policy } = view.policy;
  if (node.noFailover) return `${view.self} is tagged nofailover`;
  if (node.priority <= 0) return `${view.self} has priority 0`;
  if (!local.positionFinal)
    return `${view.self} still replays WAL that it had before its start; its position is not known yet`;
  if (local.failing !== null) return `the health check of Postgres fails here: ${local.failing.said}`;
  const newest = cluster.history.reduce((most, line) => Math.max(most, line.timeline + 1), 0);
  if (local.timeline < newest)
    return `${view.self} is on timeline ${local.timeline}, the cluster has been on ${newest}`;
  const known = view.gate?.beat?.release?.lsn ?? cluster.status?.optime ?? null;
  if (known !== null) {
    const behind = distance(position(local), known);
    if (behind > policy.maximumLagOnFailoverBytes) {
      return `${view.self} is ${behind} bytes behind ${printLsn(known)}; maximum_lag_on_failover allows ${policy.maximumLagOnFailoverBytes}`;
    }
  }
  return null;
}

function ownContender(view: View, local: Standby): Contender {
  return {
    name: view.self,
    timeline: local.timeline,
    position: position(local),
    priority: view.policy.node.priority,
    nodeId: view.policy.node.nodeId,
  };
}

/** Members who answered lately and may lead. Who does not answer cannot win either. */
export function contenders(view: View, names: readonly NodeName[]): readonly Contender[] {
  const found: Contender[] = [];
  for (const name of names) {
    const answer = view.peers.get(name);
    if (answer?.kind !== 'answered' || between(answer.at, view.now) > FRESH_MS) continue;
    const one = contender(answer.status);
    if (one !== null) found.push(one);
  }
  return found.sort(compareContenders);
}

function askedSince(view: View, name: NodeName, since: Instant): boolean {
  const answer = view.peers.get(name);
  return answer !== undefined && answer.at >= since && between(answer.at, view.now) <= FRESH_MS;
}
