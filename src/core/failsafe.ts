/**
 * How a leader goes on while etcd is away (protocol.md 8): every member of the list that it keeps in etcd confirms that
 * it will not take over for as long as the confirmed window lasts. What stands in the list, who may race beside it, and
 * why a member does not confirm. Pure; the lease keepers of both sides use it.
 */
import type { ClusterView, FailsafeList, LeaderKey } from './cluster.ts';
import type { Gate } from './gate.ts';
import type { LocalPostgres } from './local.ts';
import type { Lsn, Timeline } from './lsn.ts';
import type { NodeName, Revision } from './store.ts';
import { type Instant, longest, type Millis, millis } from './time.ts';

/** What the leader asks of a member: `POST /failsafe`. */
export interface FailsafeRequest {
  /** The leader. */
  readonly name: NodeName;
  /** Who is asked: an address may have been given to another member since. null: Patroni does not say. */
  readonly to: NodeName | null;
  /** null: a leader that runs Patroni, which knows no terms. */
  readonly term: Revision | null;
  /** For how long the member shall not promote, counted from the arrival of this; null: Patroni does not say. */
  readonly hold: Millis | null;
  /** Where the leader's slots are, as `status` tells it while etcd is there; empty: it does not say. */
  readonly slots: ReadonlyMap<string, Lsn>;
}

export type FailsafeAnswer =
  /** `position`: how far the member's WAL goes; null: it does not say. */
  { readonly kind: 'confirmed'; readonly position: Lsn | null } | { readonly kind: 'refused'; readonly why: string };

/** `off`: failsafe_mode is off here; `primary`: Postgres here is one, for Patroni an answer of its own. */
export type ConfirmOutcome = FailsafeAnswer | { readonly kind: 'off' } | { readonly kind: 'primary' };

/** No round of questions takes longer: its answers have to come while the window is still open. */
export const confirmLimit = (ttl: Millis): Millis => millis(Math.min(2_000, ttl / 5));
/** Without a proof for so long, the members are asked. */
export const asksAfter = (ttl: Millis): Millis => millis(ttl / 4);

/** Everybody who may ever lead. A witness never does; whoever is not in the list does not take the key. */
export function wantedList(
  cluster: ClusterView,
  self: { readonly name: NodeName; readonly apiUrl: string },
): ReadonlyMap<NodeName, string> {
  const list = new Map<NodeName, string>([[self.name, self.apiUrl]]);
  for (const { name, apiUrl, role, pgha } of cluster.members) {
    if (name !== self.name && apiUrl !== null && role !== 'witness' && pgha?.role !== 'witness') list.set(name, apiUrl);
  }
  return new Map([...list].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Rule 33: the leader may be going on with the word of those who stand in the list, and nobody asked the others. An
 * empty list, or none, keeps nobody away.
 */
export function isListed(list: FailsafeList | null, self: NodeName): boolean {
  return list === null || list.members.size === 0 || list.members.has(self);
}

export function sameList(a: ReadonlyMap<NodeName, string>, b: ReadonlyMap<NodeName, string>): boolean {
  return a.size === b.size && [...a].every(([name, url]) => b.get(name) === url);
}

/** Rule 28: while a write of the list is unsettled, both count. */
export function union(
  a: ReadonlyMap<NodeName, string>,
  b: ReadonlyMap<NodeName, string> | null,
): ReadonlyMap<NodeName, string> {
  return b === null ? a : new Map([...a, ...b]);
}

export interface MemberFacts {
  readonly self: NodeName;
  /** What was read of `status` since the start; null: nothing yet. */
  readonly gate: Gate | null;
  /** The leader key as it was last read. */
  readonly leader: LeaderKey | null;
  readonly holdsKey: boolean;
  /** A term stands in the state file: an earlier process of this node led. */
  readonly termOnDisk: boolean;
  /** An acquire was sent on the strength of this version of `status`; null: none was. */
  readonly acquiredOn: Revision | null;
  /** Postgres here is known not to accept writes. */
  readonly postgresIsHarmless: boolean;
  /** This node's TTL as the settings say. */
  readonly ttl: Millis;
}

/** For how long a member that confirms is bound. */
export function holdOfRequest(request: FailsafeRequest, ttl: Millis): Millis {
  return request.hold ?? ttl;
}

/** Rule 30: why this member does not confirm; null: it does. */
export function whyNotConfirmed(request: FailsafeRequest, facts: MemberFacts): string | null {
  const { gate, leader } = facts;
  if (request.to !== null && request.to !== facts.self) return `this is ${facts.self}, and ${request.to} was asked`;
  if (gate === null) return 'etcd was not read since the start';
  if (facts.holdsKey) return 'this node owns the leader key';
  if (facts.termOnDisk) return 'this node has led, and has not put that away yet';
  if (!facts.postgresIsHarmless) return 'Postgres here is not known to be a standby';
  if (facts.acquiredOn !== null && facts.acquiredOn === gate.revision) return 'this node has asked for the key itself';
  if (leader !== null && leader.name !== request.name) return `the leader key was last seen with ${leader.name}`;
  const { beat } = gate;
  if (request.term === null) {
    if (beat !== null) return 'the last status was written by a leader that keeps terms';
    return leader === null ? 'no leader key was seen' : null;
  }
  if (beat === null || beat.term !== request.term)
    return `the last status seen is of term ${beat?.term ?? 'none'}, not of term ${request.term}`;
  if (beat.release !== null) return 'the leader has given the key up in that term';
  // A node that starts anew waits the hold that stands in `status` and no longer: what is confirmed must not go beyond.
  const most = longest(millis(beat.holdMs ?? 0), facts.ttl);
  if (request.hold === null || request.hold > most) return `a hold of ${request.hold} ms goes beyond ${most} ms`;
  return null;
}

/**
 * A newer timeline here than that of the leader who asks, and not from him: somebody has led since, and an etcd that was
 * restored knows nothing of it.
 *
 * @param theirs - the timeline of that leader; null: not known
 * @returns why he is not confirmed; null: nothing here speaks against it
 */
export function ledSince(
  self: NodeName,
  local: LocalPostgres,
  leader: NodeName,
  theirs: Timeline | null,
): string | null {
  if (local.kind !== 'standby' || local.receiver !== null || theirs === null || local.timeline <= theirs) return null;
  return `${self} is on timeline ${local.timeline}, and ${leader} on ${theirs}: somebody has led since`;
}

/** The gate with what was confirmed beside it (rule 31): no version of `status` shortens that. */
export function gateBehind(gate: Gate | null, confirmedUntil: Instant): Gate | null {
  if (gate === null || gate.opensAt === 'never' || gate.opensAt >= confirmedUntil) return gate;
  return { ...gate, opensAt: confirmedUntil };
}
