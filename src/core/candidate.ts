/**
 * Who may lead, and who goes first: newest timeline, then furthest position, then those whom nothing ails, then highest
 * priority, then lowest node_id (by name without one). There is no majority among members: etcd is the quorum. With `location_policy:
 * prefer` the last leader's location goes before the priority: never before data.
 */
import type { Lsn, Timeline } from './lsn.ts';
import { printLsn } from './lsn.ts';
import type { PeerStatus } from './peer.ts';
import { cannotWrite, hinders } from './sickness.ts';
import type { NodeName } from './store.ts';

export interface Contender {
  readonly name: NodeName;
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly priority: number;
  readonly nodeId: number | null;
  readonly location: string;
  /** Something ails it that would ail the new leader: it goes after those who have as much and are well. */
  readonly ailing: boolean;
}

/**
 * Negative: `a` goes before `b`.
 *
 * @param preferred - the location that goes first among those who have everything; null: none does
 */
export function compareContenders(a: Contender, b: Contender, preferred: string | null = null): number {
  if (a.timeline !== b.timeline) return b.timeline - a.timeline;
  if (a.position !== b.position) return a.position > b.position ? -1 : 1;
  if (a.ailing !== b.ailing) return a.ailing ? 1 : -1;
  if (a.location !== b.location && preferred !== null) {
    if (a.location === preferred) return -1;
    if (b.location === preferred) return 1;
  }
  if (a.priority !== b.priority) return b.priority - a.priority;
  // Whoever has none goes after those who have one: by name alone among some, three could each go before the next.
  if (a.nodeId !== b.nodeId) return (a.nodeId ?? Number.POSITIVE_INFINITY) - (b.nodeId ?? Number.POSITIVE_INFINITY);
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

export function rank(contenders: readonly Contender[], preferred: string | null = null): readonly Contender[] {
  return [...contenders].sort((a, b) => compareContenders(a, b, preferred));
}

/** Why this member cannot become leader; null: it can. */
export function unfit(peer: PeerStatus): string | null {
  if (peer.witness) return `${peer.name} is a witness`;
  if (peer.noFailover) return `${peer.name} is tagged nofailover`;
  if (peer.priority <= 0) return `${peer.name} has priority 0`;
  if (!peer.inRecovery) return `${peer.name} is not a standby`;
  if (peer.state !== 'running') return `Postgres of ${peer.name} is ${peer.state}`;
  if (peer.timeline === null || peer.position === null) return `the position of ${peer.name} is not known`;
  if (!peer.positionFinal) return `${peer.name} still replays its own WAL`;
  if (peer.vetoedFor !== null) return `the failover_validation_command of ${peer.name} was against it`;
  const disk = peer.ailing.find(cannotWrite);
  if (disk !== undefined) return `${peer.name} cannot write to its disk (${disk})`;
  return null;
}

/** It may lead, and has data, but its Postgres is not up yet as a standby whose position can be compared. */
export function isReturning(peer: PeerStatus): boolean {
  if (!peer.pgha || peer.witness || peer.noFailover || peer.priority <= 0 || peer.vetoedFor !== null) return false;
  switch (peer.state) {
    case 'stopped':
    case 'crashed':
      return peer.timeline !== null;
    case 'starting':
      return true;
    case 'running':
      return peer.inRecovery && !peer.positionFinal;
    default:
      return false;
  }
}

export function contender(peer: PeerStatus): Contender | null {
  if (unfit(peer) !== null || peer.timeline === null || peer.position === null) return null;
  return {
    name: peer.name,
    timeline: peer.timeline,
    position: peer.position,
    priority: peer.priority,
    nodeId: peer.nodeId,
    location: peer.location,
    ailing: peer.ailing.some(hinders),
  };
}

/** `b (timeline 2, 0/5000060, priority 100)`, best first. */
export function describeRanking(ranking: readonly Contender[]): string {
  return ranking
    .map((c) => `${c.name} (timeline ${c.timeline}, ${printLsn(c.position)}, priority ${c.priority})`)
    .join(', ');
}
