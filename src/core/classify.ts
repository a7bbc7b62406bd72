/**
 * Which circumstance is a node in? A closed list. The order of the questions is part of the design; each says why it
 * stands where it does.
 */
import type { ClusterView, FailoverRequest, LeaderKey } from './cluster.ts';
import { gateOpen } from './gate.ts';
import { mayWrite } from './local.ts';
import type { NodeName, Revision } from './store.ts';
import type { Leadership, View } from './view.ts';

export type Holding = Extract<Leadership, { kind: 'holding' }>;

export type Situation =
  | { readonly kind: 'writing-without-window' }
  | { readonly kind: 'orphans' }
  | { readonly kind: 'leaving' }
  | { readonly kind: 'shadow' }
  | { readonly kind: 'unusable'; readonly sentence: string }
  | { readonly kind: 'busy' }
  | { readonly kind: 'name-taken'; readonly by: string }
  | { readonly kind: 'witnessing' }
  | { readonly kind: 'uninformed' }
  | { readonly kind: 'maintenance' }
  | { readonly kind: 'switching-over'; readonly holding: Holding; readonly cluster: ClusterView }
  | { readonly kind: 'leading'; readonly holding: Holding; readonly cluster: ClusterView }
  | { readonly kind: 'blind' }
  | { readonly kind: 'joining'; readonly cluster: ClusterView }
  | { readonly kind: 'following'; readonly cluster: ClusterView; readonly leader: LeaderKey }
  | { readonly kind: 'rejoining'; readonly cluster: ClusterView; readonly leader: LeaderKey }
  | { readonly kind: 'leaderless'; readonly cluster: ClusterView };

export function classify(view: View): Situation {
  const { local, leadership } = view;
  // Before everything: what runs here is somebody else's until it is handed over, whatever it does.
  if (watchesOnly(view)) return { kind: 'shadow' };
  // Before anything that trusts etcd, an operator or an operation: a closed window is a local fact and needs nobody's
  // agreement.
  if (writesWithoutWindow(view)) return { kind: 'writing-without-window' };
  // Children without their postmaster may go on committing for seconds; nothing about this node is certain until they
  // are gone, not even in maintenance.
  if (local.kind === 'orphans' && !view.policy.cluster.pause) return { kind: 'orphans' };
  // Before what runs: on a disk that hangs a checkpoint, or a promotion, waits for minutes, and nobody accepts writes.
  const failing = failsMeanwhile(view);
  if (failing !== null) return failing;
  // One thing at a time: what runs has been decided, and ends or is ended by its own limits.
  if (view.operation !== null) return { kind: 'busy' };
  if (view.leaving) return { kind: 'leaving' };
  // Before everything that is done in this node's name: a leader key that names it may be another machine's.
  if (view.nameTakenBy !== null && leadership.kind !== 'holding') return { kind: 'name-taken', by: view.nameTakenBy };
  // Before anything that looks at a Postgres: there is none, and that is no reason to copy one. A key that names this
  // node from earlier days is given up like any other that cannot be used.
  if (view.policy.node.role === 'witness' && leadership.kind !== 'holding') return { kind: 'witnessing' };
  // Whoever leads with a directory that cannot be used any more has to give the key up: a decision of the leader.
  if (local.kind === 'unusable' && leadership.kind !== 'holding')
    return { kind: 'unusable', sentence: `${local.code}: ${local.sentence}` };
  if (view.dcs.kind === 'never-read') return { kind: 'uninformed' };
  const { cluster } = view.dcs;
  // An operator who has taken the wheel keeps it; a switchover that he asks for is carried out all the same. Not while
  // etcd is away: Postgres would be stopped for a key that cannot be handed over, again and again.
  const canHandOver = leadership.kind === 'holding' && leadership.provenBy === 'etcd' && view.dcs.answering;
  if (canHandOver && local.kind === 'primary' && wanted(view, cluster)) {
    return { kind: 'switching-over', holding: leadership, cluster };
  }
  if (view.policy.cluster.pause) return { kind: 'maintenance' };
  // The key is ours by the lease keeper's knowledge, which is newer than the last read of the cluster.
  if (leadership.kind === 'holding') return { kind: 'leading', holding: leadership, cluster };
  // Without etcd nobody is elected and nobody is followed anew.
  if (!view.dcs.answering) return { kind: 'blind' };
  // A scope in which no cluster was ever made, or is being made.
  if (cluster.initialize === null || cluster.initialize.value === '') return { kind: 'joining', cluster };
  const foreign = foreignData(view, cluster);
  if (foreign !== null) return { kind: 'unusable', sentence: foreign };
  const leader = cluster.leader;
  if (leader === null || leader.name === view.self || ownerIsGone(view, leader)) return { kind: 'leaderless', cluster };
  if (local.kind === 'absent' || local.kind === 'half-made') return { kind: 'joining', cluster };
  if (local.kind === 'stopped') return { kind: 'rejoining', cluster, leader };
  return { kind: 'following', cluster, leader };
}

/**
 * Postgres of the leader does not answer while it is promoted or restarted, or while a hand-over is being prepared and it
 * was not told to stop yet: it is judged as it would be without. One that says that it is stopping has answered.
 */
function failsMeanwhile({ operation, handedOver, local, leadership, policy, dcs }: View): Situation | null {
  const kind = operation?.kind;
  if (kind !== 'promote' && kind !== 'restart' && (kind !== 'switchover' || handedOver)) return null;
  const runs = local.kind === 'primary' || (local.kind === 'standby' && kind === 'promote');
  const fails = (local.kind === 'silent' && kind !== 'restart') || (runs && local.failing !== null);
  if (!fails || policy.cluster.pause || leadership.kind !== 'holding' || dcs.kind !== 'read') return null;
  return { kind: 'leading', holding: leadership, cluster: dcs.cluster };
}

/**
 * `adopt_from`: nothing is touched here before an operator has handed the cluster over. That is done when somebody has
 * led under this scope, with these data; without effect from then on, also when etcd is emptied under a running daemon.
 */
export function watchesOnly(view: View): boolean {
  const { policy, leadership, dcs, local } = view;
  if (policy.node.adoptFrom === undefined || leadership.kind === 'holding') return false;
  // What this cluster's own daemons have configured is none that is still to be handed over.
  if (dcs.kind === 'never-read') return local.kind !== 'primary' || local.managed !== true;
  const { cluster } = dcs;
  if (foreignData(view, cluster) !== null) return true;
  if (cluster.leader !== null || cluster.status !== null) return false;
  if (cluster.initialize === null && 'systemId' in local && local.systemId === view.formerCluster) return false;
  return local.kind !== 'primary' || !view.takeOverAsked;
}

function writesWithoutWindow(view: View): boolean {
  const { local, leadership, operation } = view;
  // The server of a bootstrap is reachable by its private socket only; orphans have a rule of their own.
  if (operation?.kind === 'bootstrap' || local.kind === 'orphans') return false;
  // What nobody can ask may be a standby; a primary that this node led with is the guard's.
  if (local.kind === 'unusable') return false;
  if (!mayWrite(local)) return false;
  if (view.policy.cluster.pause) return false;
  if (leadership.kind === 'holding') return !leadership.windowOpen && !leadership.adopting;
  // A primary found in a scope in which nobody ever led: it may be taken in as it runs. Until etcd was read we don't
  // know, and stop it only if it turns out otherwise.
  return !adoptable(view) && !mayBecomeAdoptable(view);
}

/** A server that was found starting where no cluster is named yet: whose data it has is seen when it is up. */
function mayBecomeAdoptable({ local, dcs }: View): boolean {
  if (local.kind !== 'starting' || dcs.kind === 'never-read') return false;
  const { leader, status, initialize } = dcs.cluster;
  return leader === null && status === null && (initialize === null || initialize.value === '');
}

/** A running primary where no leadership was ever written down: the first take-over of an existing server. */
export function adoptable(view: View): boolean {
  if (view.local.kind !== 'primary') return false;
  // After a reboot somebody else may have started what was this cluster's primary: without etcd it must not write.
  if (view.dcs.kind === 'never-read') return view.local.managed !== true;
  const { cluster } = view.dcs;
  if (cluster.leader !== null || cluster.status !== null) return false;
  // While somebody is only making a cluster there is none yet that this one could be a second writer of.
  const name = cluster.initialize?.value ?? '';
  return name === '' || name === view.local.systemId;
}

/**
 * The key stands although its owner's window has closed: etcd deletes late, and a new etcd leader restarts every lease
 * (protocol.md 13). Only for an owner who writes holds; his `status` must be of his term.
 */
export function ownerIsGone(view: View, leader: LeaderKey): boolean {
  const { gate } = view;
  return gate?.beat != null && gate.beat.term === leader.term && gate.beat.release === null && gateOpen(gate, view.now);
}

/** We have given the key up for this wish, and lead again all the same: once is enough. */
export const isTriedBefore = (wish: FailoverRequest, self: NodeName, term: Revision): boolean =>
  wish.leader === self && wish.scheduledAt === null && wish.revision < term;

/** An operator asks for another leader, now. A wish that names this node has come true once it leads. */
export function wanted(view: View, cluster: ClusterView): boolean {
  if (cluster.failover === null || cluster.failover.candidate === view.self) return false;
  if (cluster.leader !== null && isTriedBefore(cluster.failover, view.self, cluster.leader.term)) return false;
  if (cluster.failover.scheduledAt === null) return true;
  // In maintenance a schedule is not looked at: nobody knows what the operator is in the middle of.
  return !view.policy.cluster.pause && view.switchoverDueIn !== null && view.switchoverDueIn <= 0;
}

/** Our data directory belongs to another cluster: told, never touched. */
export function foreignData(view: View, cluster: ClusterView): string | null {
  const { local } = view;
  const own = 'systemId' in local ? local.systemId : null;
  const theirs = cluster.initialize?.value ?? null;
  if (own === null || theirs === null || theirs === '' || own === theirs) return null;
  return (
    `PGHA_DATA_DIRECTORY_FOREIGN: the data directory belongs to the cluster with system identifier ${own}, but this scope is ${theirs}. ` +
    'It was not touched. Check `scope` and `data_dir`, or move the directory away to have it copied anew.'
  );
}
