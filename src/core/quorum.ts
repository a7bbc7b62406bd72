/**
 * Who may acknowledge a commit (`synchronous_standby_names` of the primary) and who may win an election (etcd's `sync`
 * key), and the steps from one pair of sets to the next. Each step writes in one place only and is safe to stop at: any
 * set of standbys that can have acknowledged a commit meets any set that can win. Pure; it does not decide when a step
 * is made, nor who is well enough to be a synchronous standby beyond what it is told.
 *
 * A candidate wins when it has all the WAL of `quorum` other voters, of one more when it is no voter itself. Whoever led
 * last, the key's `leader`, has all that was ever acknowledged.
 */
import type { Lsn } from './lsn.ts';
import type { NodeName } from './store.ts';

/** etcd's `sync` key as Patroni writes it. */
export interface SyncKey {
  readonly leader: NodeName;
  /** `sync_standby`, sorted. */
  readonly voters: readonly NodeName[];
  /** How many other voters a voter has to outdo. 0: each of them has everything. */
  readonly quorum: number;
}

/** What `synchronous_standby_names` asks for before a commit is acknowledged. */
export type Acknowledging =
  /** Nobody is waited for. */
  | { readonly kind: 'alone' }
  /** A name that nobody has: no commit is acknowledged. */
  | { readonly kind: 'blocked' }
  | { readonly kind: 'standbys'; readonly names: readonly NodeName[]; readonly count: number }
  /** Somebody else's text: counts as if nobody were waited for. */
  | { readonly kind: 'foreign'; readonly text: string };

export type SyncMode = 'on' | 'quorum';

/** Where the steps lead. */
export interface SyncTarget {
  readonly voters: readonly NodeName[];
  readonly quorum: number;
  readonly acknowledging: Acknowledging;
}

export type SyncStep =
  | { readonly do: 'write-key'; readonly key: SyncKey }
  | { readonly do: 'set-names'; readonly acknowledging: Acknowledging }
  /** Until these have all that was acknowledged before the last step; nobody: until the last names have settled. */
  | { readonly do: 'wait'; readonly for: readonly NodeName[] }
  | { readonly do: 'nothing' };

export interface SyncState {
  readonly self: NodeName;
  readonly mode: SyncMode;
  /** As it stands in etcd; null: no such key, or one that nobody understands. */
  readonly key: SyncKey | null;
  /** In force in this primary. */
  readonly acknowledging: Acknowledging;
  readonly target: SyncTarget;
  /**
   * Standbys that have flushed everything the primary had flushed when `acknowledging` had taken effect: all that was
   * acknowledged under other names. Empty while that is not known.
   */
  readonly confirmed: ReadonlySet<NodeName>;
  /** `acknowledging` is all there is: no WAL sender goes by names that were in force before. */
  readonly settled: boolean;
}

type Voting = Pick<SyncKey, 'voters' | 'quorum'>;

const without = (all: readonly NodeName[], less: { has(name: NodeName): boolean }): readonly NodeName[] =>
  all.filter((name) => !less.has(name));
const sorted = (names: Iterable<NodeName>): readonly NodeName[] => [...new Set(names)].sort();
const nobody = (self: NodeName): SyncKey => ({ leader: self, voters: [], quorum: 0 });

/** With so few voters only the leader itself can win. */
const onlyTheLeader = ({ voters, quorum }: Voting): boolean => voters.length <= quorum;

/** Whether any set of standbys that acknowledges a commit meets any set of voters that makes a winner. */
export function agrees(voting: Voting, acknowledging: Acknowledging): boolean {
  if (onlyTheLeader(voting) || acknowledging.kind === 'blocked') return true;
  if (acknowledging.kind !== 'standbys') return false;
  const all = new Set([...voting.voters, ...acknowledging.names]);
  return all.size <= acknowledging.count + voting.quorum;
}

/**
 * Whether no commit that was acknowledged before can be missing on a winner. By the old key no more than `quorum` of
 * its voters lack one; a voter that joins may lack everything, unless it is confirmed.
 */
function keepsHistory(before: Voting, after: Voting, confirmed: ReadonlySet<NodeName>): boolean {
  const unconfirmed = without(after.voters, confirmed);
  const joined = without(unconfirmed, new Set(before.voters));
  return after.quorum >= Math.min(before.quorum + joined.length, unconfirmed.length);
}

function sameNames(a: readonly NodeName[], b: readonly NodeName[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  const other = sorted(b);
  return sorted(a).every((name, i) => name === other[i]);
}

export const sameVoting = (a: Voting, b: Voting): boolean => a.quorum === b.quorum && sameNames(a.voters, b.voters);

export function sameAcknowledging(a: Acknowledging, b: Acknowledging): boolean {
  if (a.kind === 'standbys' && b.kind === 'standbys') return a.count === b.count && sameNames(a.names, b.names);
  return a.kind === b.kind && a.kind !== 'foreign';
}

export function nextStep(state: SyncState): SyncStep {
  const { self, key, acknowledging, target, confirmed } = state;
  const write = (voting: Voting): SyncStep => ({
    do: 'write-key',
    key: { leader: self, voters: sorted(voting.voters), quorum: voting.quorum },
  });
  if (key === null || key.leader !== self) return write(nobody(self));
  const namesDone = sameAcknowledging(acknowledging, target.acknowledging);
  if (namesDone && sameVoting(key, target)) return { do: 'nothing' };
  // First, because it may be what commits are waiting for.
  if (!namesDone && agrees(key, target.acknowledging))
    return !state.settled
      ? { do: 'wait', for: [] }
      : { do: 'set-names', acknowledging: towards(key, acknowledging, target.acknowledging) };
  // Somebody has changed the names by hand.
  if (!agrees(key, acknowledging)) return write(nobody(self));
  if (!sameVoting(key, target) && agrees(target, acknowledging) && keepsHistory(key, target, confirmed))
    return write(target);
  if (!namesDone) return write(bridge(key, target, state.mode));
  const nearer = nearerKey(key, target, confirmed, state.mode);
  return nearer === null ? { do: 'wait', for: without(target.voters, confirmed) } : write(nearer);
}

/**
 * The names to set next, on the way to `to`. WAL senders read new names one after the other, and one that has not yet
 * counts, by its own old count, also those whose senders have: for that moment any of both lists may acknowledge, as few
 * as the smaller count says. Where the key does not allow that, first nobody can: a count that only all of both lists
 * together could reach; then the list; then the count.
 */
function towards(key: SyncKey, from: Acknowledging, to: Acknowledging): Acknowledging {
  if (from.kind !== 'standbys' || to.kind !== 'standbys') return to;
  const names = sorted([...from.names, ...to.names]);
  if (agrees(key, { kind: 'standbys', names, count: Math.min(from.count, to.count) })) return to;
  const all = sorted([...names, ...key.voters]).length;
  if (from.count < all) return { kind: 'standbys', names: from.names, count: all };
  return { kind: 'standbys', names: to.names, count: from.count };
}

/** A key between two pairs of sets: it agrees with the names as they are and as they will be. */
function bridge(key: SyncKey, target: SyncTarget, mode: SyncMode): Voting {
  const { acknowledging } = target;
  if (acknowledging.kind !== 'standbys') return { voters: [], quorum: 0 };
  if (mode === 'on') {
    // Whoever leaves does so before he is no longer waited for.
    const voters = key.voters.filter((name) => target.voters.includes(name));
    return { voters, quorum: Math.min(key.quorum, voters.length) };
  }
  const voters = sorted([...key.voters, ...target.voters]);
  const joined = voters.length - key.voters.length;
  return { voters, quorum: Math.max(key.quorum + joined, voters.length - acknowledging.count) };
}

/** What can be said with those who are confirmed by now; null: nothing that would help. */
function nearerKey(key: SyncKey, target: SyncTarget, confirmed: ReadonlySet<NodeName>, mode: SyncMode): Voting | null {
  const voters =
    mode === 'on' ? target.voters.filter((name) => confirmed.has(name) || key.voters.includes(name)) : target.voters;
  const quorum = mode === 'on' ? target.quorum : Math.max(target.quorum, without(target.voters, confirmed).length);
  const next = { voters, quorum };
  if (onlyTheLeader(next) || sameVoting(key, next)) return null;
  if (!agrees(next, target.acknowledging) || !keepsHistory(key, next, confirmed)) return null;
  return next;
}

/**
 * The key of a node that takes the lead: whoever led before has everything, and votes from now on; the new leader's
 * own part is told by the key's `leader`.
 */
export function keyOfTaker(before: SyncKey | null, taker: NodeName): SyncKey {
  if (before === null || before.leader === taker)
    return { leader: taker, voters: without(before?.voters ?? [], new Set([taker])), quorum: before?.quorum ?? 0 };
  return {
    leader: taker,
    voters: without(sorted([...before.voters, before.leader]), new Set([taker])),
    quorum: before.quorum,
  };
}

/** A voter as an election hears of it. */
export interface Vote {
  readonly name: NodeName;
  /** null: it does not answer, or does not know its position yet. `outdone`: it has no WAL that the candidate lacks. */
  readonly heard: 'outdone' | 'ahead' | null;
}

export type Standing =
  | { readonly kind: 'may-win' }
  /** So many more of those who are missing have to be heard, and to be outdone. */
  | {
      readonly kind: 'short';
      readonly by: number;
      readonly missing: readonly NodeName[];
      readonly ahead: readonly NodeName[];
    };

/**
 * Whether this candidate has all that was ever acknowledged, by what the voters say.
 *
 * @param votes - of the voters other than the candidate
 */
export function standing(key: SyncKey, candidate: NodeName, votes: readonly Vote[]): Standing {
  if (key.leader === candidate) return { kind: 'may-win' };
  const needed = key.voters.includes(candidate) ? key.quorum : key.quorum + 1;
  const outdone = votes.filter((vote) => vote.heard === 'outdone').length;
  if (outdone >= needed) return { kind: 'may-win' };
  const named = (heard: Vote['heard']): readonly NodeName[] =>
    votes.filter((vote) => vote.heard === heard).map((vote) => vote.name);
  return { kind: 'short', by: needed - outdone, missing: named(null), ahead: named('ahead') };
}

// ---------------------------------------------------------------------------------------------------------------------
// Whom to choose

/** A standby that streams from the primary. */
export interface SyncStandby {
  readonly name: NodeName;
  /** `sync_priority`; higher goes first. */
  readonly priority: number;
  readonly noFailover: boolean;
  readonly flushed: Lsn;
}

export interface SyncWish {
  readonly mode: SyncMode;
  readonly strict: boolean;
  /** `synchronous_node_count` */
  readonly count: number;
  /** `maximum_lag_on_syncnode` in bytes; negative: no limit. */
  readonly maximumLag: bigint;
}

/**
 * Who shall be waited for, and how many of them.
 *
 * @param active - who streams and may be synchronous
 * @param lately - who was active until a moment ago, or may be any moment: not given up yet
 * @param key - as it stands
 */
export function chooseTarget(
  wish: SyncWish,
  active: readonly SyncStandby[],
  lately: ReadonlySet<NodeName>,
  key: SyncKey | null,
  acknowledging: Acknowledging,
): SyncTarget {
  const known = new Set([...(key?.voters ?? []), ...(acknowledging.kind === 'standbys' ? acknowledging.names : [])]);
  const ranked = rankStandbys(withinLag(active, wish.maximumLag), known);
  // Gone for a moment: it stays what it was, until others are there instead or it has been away for too long.
  const away = [...known].filter((name) => lately.has(name) && !active.some((one) => one.name === name));
  const chosen = wish.mode === 'on' ? chooseOn(wish.count, ranked, away, key) : chooseQuorum(wish.count, ranked, away);
  if (chosen.length > 0) return targetOf(wish, chosen);
  if (!wish.strict) return { voters: [], quorum: 0, acknowledging: { kind: 'alone' } };
  // Nobody is left: commits wait for those who were there last, first for those who have everything.
  const last = [...sorted(known)].sort((a, b) => Number(isVoter(key, b)) - Number(isVoter(key, a)));
  return last.length > 0
    ? targetOf(wish, wish.mode === 'on' ? last.slice(0, wish.count) : last)
    : { voters: [], quorum: 0, acknowledging: { kind: 'blocked' } };
}

const isVoter = (key: SyncKey | null, name: NodeName): boolean => key?.voters.includes(name) === true;

function targetOf({ mode, count }: SyncWish, chosen: readonly NodeName[]): SyncTarget {
  const names = sorted(chosen);
  const needed = mode === 'on' ? names.length : Math.min(count, names.length);
  return {
    voters: names,
    quorum: names.length - needed,
    acknowledging: { kind: 'standbys', names, count: needed },
  };
}

function chooseOn(
  count: number,
  ranked: readonly SyncStandby[],
  away: readonly NodeName[],
  key: SyncKey | null,
): readonly NodeName[] {
  const top = ranked.slice(0, count).map((one) => one.name);
  // One leaves and another comes: somebody who has everything stays until the new one has it too.
  const voters = key?.voters ?? [];
  const staying = ranked.find((one) => voters.includes(one.name))?.name;
  if (staying !== undefined && !top.some((name) => voters.includes(name))) return [...top, staying];
  return [...top, ...away.slice(0, Math.max(0, count - top.length))];
}

function chooseQuorum(count: number, ranked: readonly SyncStandby[], away: readonly NodeName[]): readonly NodeName[] {
  const lead = ranked.filter((one) => !one.noFailover).map((one) => one.name);
  const others = ranked.filter((one) => one.noFailover).map((one) => one.name);
  const chosen = [...lead, ...away];
  return [...chosen, ...others.slice(0, Math.max(0, count - chosen.length))];
}

/** Behind the best by more than is allowed: not waited for. */
function withinLag(active: readonly SyncStandby[], maximum: bigint): readonly SyncStandby[] {
  if (maximum <= 0n) return active;
  const best = active.reduce((most, one) => (one.flushed > most ? one.flushed : most), 0n);
  return active.filter((one) => best - one.flushed <= maximum);
}

/** Priority, then who is one already, then position; those who never lead come last. */
function rankStandbys(active: readonly SyncStandby[], known: ReadonlySet<NodeName>): readonly SyncStandby[] {
  return [...active].sort((a, b) => {
    if (a.noFailover !== b.noFailover) return a.noFailover ? 1 : -1;
    if (a.priority !== b.priority) return b.priority - a.priority;
    if (known.has(a.name) !== known.has(b.name)) return known.has(a.name) ? -1 : 1;
    if (a.flushed !== b.flushed) return a.flushed > b.flushed ? -1 : 1;
    return a.name < b.name ? -1 : 1;
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// For people

export function describeAcknowledging(acknowledging: Acknowledging): string {
  switch (acknowledging.kind) {
    case 'alone':
      return 'commits wait for nobody';
    case 'blocked':
      return 'no commit is acknowledged';
    case 'foreign':
      return `synchronous_standby_names is '${acknowledging.text}', which pgha has not set`;
    case 'standbys': {
      const { names, count } = acknowledging;
      if (count > names.length)
        return `no commit is acknowledged while those who are waited for change (${names.join(', ')})`;
      return count >= names.length
        ? `commits wait for ${names.join(' and ')}`
        : `commits wait for ${count} of ${names.join(', ')}`;
    }
    default:
      return ((never: never) => never)(acknowledging);
  }
}

export function describeKey(key: SyncKey): string {
  if (key.voters.length === 0) return `nobody but ${key.leader} has every commit for certain`;
  if (key.quorum === 0) return `${key.voters.join(' and ')} ${key.voters.length === 1 ? 'has' : 'have'} every commit`;
  return `of ${key.voters.join(', ')} any ${key.quorum + 1} together have every commit`;
}
