/**
 * Which replication slots a node has to have, and what is done about each that is there or missing: a pure plan from
 * what Postgres shows and what the cluster is asked to keep. Also what to think of a slot that holds back much WAL, and
 * of a logical slot that was copied from the leader. Reading and changing slots is the adapter's matter.
 */
import { distance, type Lsn } from './lsn.ts';
import { between, type Instant, type Millis } from './time.ts';

export type SlotKind = 'physical' | 'logical';

/** A slot that the operator wants to exist for ever (`slots`). */
export interface PermanentSlot {
  readonly name: string;
  readonly kind: SlotKind;
  /** Of logical slots only. */
  readonly database: string | null;
  readonly plugin: string | null;
}

/** Slots that are none of our business (`ignore_slots`): those of which all that is set here is true. */
export interface SlotMatcher {
  readonly name: string | null;
  readonly kind: SlotKind | null;
  readonly database: string | null;
  readonly plugin: string | null;
}

export interface SlotPolicy {
  readonly permanent: readonly PermanentSlot[];
  readonly ignored: readonly SlotMatcher[];
  /** false: something in the two was not understood, so nobody knows which slots are not wanted, and none is dropped. */
  readonly complete: boolean;
}

export const NO_SLOTS_ASKED_FOR: SlotPolicy = { permanent: [], ignored: [], complete: true };

/** From version 17 on Postgres itself keeps logical slots on standbys (docs: "Logical Replication Failover"). */
export const NATIVE_SLOT_SYNC = 17;

/** A row of pg_replication_slots; what a version does not have is null or false. */
export interface SlotState {
  readonly name: string;
  readonly kind: SlotKind;
  readonly database: string | null;
  readonly plugin: string | null;
  readonly active: boolean;
  readonly temporary: boolean;
  /** Oldest WAL that it holds back; null: it never did, or has lost it. */
  readonly restartLsn: Lsn | null;
  /** Logical: up to here the consumer has everything. */
  readonly confirmedLsn: Lsn | null;
  readonly xmin: Xid | null;
  readonly catalogXmin: Xid | null;
  /** From 13 on. */
  readonly walStatus: 'reserved' | 'extended' | 'unreserved' | 'lost' | null;
  /** From 17 on: to be kept on standbys, and made there by Postgres itself. */
  readonly failover: boolean;
  readonly synced: boolean;
}

/** What a server says of its slots. */
export interface ServerSlots {
  readonly slots: readonly SlotState[];
  readonly inRecovery: boolean;
  /** Out of recovery the end of the WAL, in recovery the end of what was replayed. */
  readonly end: Lsn;
}

/** A transaction id as Postgres prints it: 32 bits, compared around the circle. */
export type Xid = number & { readonly __brand: 'Xid' };
export const xid = (value: number): Xid => value as Xid;
/** Whether `a` is `b` or younger (TransactionIdFollowsOrEquals). */
export const notBefore = (a: Xid, b: Xid): boolean => ((a - b) | 0) >= 0;

export type SlotStep =
  /** `routine`: it is made anew at once, and nobody misses anything. */
  | { readonly do: 'drop'; readonly slot: string; readonly why: string; readonly routine?: true }
  | { readonly do: 'create-physical'; readonly slot: string }
  | {
      readonly do: 'create-logical';
      readonly slot: string;
      readonly database: string;
      readonly plugin: string;
      /** Asked of Postgres from 17 on. */
      readonly failover: boolean;
      /** The cluster had it: what its consumer had not got yet is not in the new one. */
      readonly lostPosition: boolean;
    }
  | { readonly do: 'advance'; readonly slot: string; readonly to: Lsn; readonly database: string | null };

export interface SlotQuestion {
  readonly server: ServerSlots;
  /** Major version of Postgres. */
  readonly version: number;
  /** The slot name of this node. */
  readonly own: string;
  /** Slot names of all members, this one among them: no permanent slot can have such a name. */
  readonly members: ReadonlySet<string>;
  /** Slots that other members need here. */
  readonly needed: ReadonlySet<string>;
  /** Of these, the members that were told to stream from here. */
  readonly fed: ReadonlySet<string>;
  /** Permanent slots are kept here too: this node may become the leader. */
  readonly mayLead: boolean;
  readonly policy: SlotPolicy;
  /** Slots of present and former members. */
  readonly made: ReadonlySet<string>;
  /** Since when slots are here that nobody wants and pgha has not made. */
  readonly strangers: ReadonlyMap<string, Instant>;
  /**
   * By slot name. On a standby: where the slots stand on the leader. On a primary: how far members have come that
   * receive from elsewhere.
   */
  readonly positions: ReadonlyMap<string, Lsn>;
  /** Slots that the leader has published as the cluster's own. */
  readonly published: ReadonlySet<string>;
  readonly now: Instant;
  /** member_slots_ttl: a slot that is not ours is left alone for so long. */
  readonly patience: Millis;
}

export interface SlotPlan {
  /** In the order in which they are to be done; each may fail without harm to the next. */
  readonly steps: readonly SlotStep[];
  /** Logical slots of the leader that this standby lacks and that cannot be made here (before 17). */
  readonly toCopy: readonly PermanentSlot[];
  /** Slots that nobody wants, with the instant since when; those with an instant just now are news. */
  readonly strangers: ReadonlyMap<string, Instant>;
  /** What the operator has to put right: a slot and a sentence. */
  readonly problems: ReadonlyMap<string, string>;
}

export function planSlots(question: SlotQuestion): SlotPlan {
  const { server, needed, own, version } = question;
  const problems = new Map<string, string>();
  const present = new Map(server.slots.map((slot) => [slot.name, slot]));
  const permanent = wantedPermanent(question, problems);
  const drops: SlotStep[] = [];
  const moves: SlotStep[] = [];
  const creates: SlotStep[] = [];
  const toCopy: PermanentSlot[] = [];

  for (const name of needed) {
    if (name === own) continue;
    const slot = present.get(name);
    if (slot === undefined) creates.push({ do: 'create-physical', slot: name });
    else if (slot.kind !== 'physical') problems.set(name, 'the slot of a member has the name of a logical slot');
    else if (slot.active) continue;
    else if (slot.walStatus === 'lost')
      drops.push({
        do: 'drop',
        slot: name,
        why: 'its WAL was removed: it is made anew, and its member is copied anew',
      });
    else if (isStale(question, slot))
      drops.push({
        do: 'drop',
        slot: name,
        why: 'nobody streams through it here, and it holds back vacuum: made anew',
        routine: true,
      });
    else moves.push(...moved(question, slot));
  }

  for (const wish of permanent) {
    const slot = present.get(wish.name);
    if (slot === undefined) {
      const missing = missingPermanent(question, wish);
      if (missing === 'copy') toCopy.push(wish);
      else if (missing !== null) creates.push(missing);
      continue;
    }
    const is = differsFrom(slot, wish);
    if (is !== null) {
      // The cluster has one of this name and the operator has changed what it is.
      if (question.published.has(wish.name) && !slot.active)
        drops.push({ do: 'drop', slot: wish.name, why: `it is ${is}` });
      else
        problems.set(wish.name, `another slot of this name is there, ${is}: it is left alone, and this one not made`);
    } else if (slot.active) continue;
    else if (slot.walStatus === 'lost' && slot.kind === 'logical' && !server.inRecovery)
      // Made anew, its consumer would go on behind a gap, and nobody would tell it.
      problems.set(
        wish.name,
        'it was invalidated, most likely because its WAL was removed (max_slot_wal_keep_size): have its consumer begin anew, and drop the slot (pg_drop_replication_slot), it is then made again',
      );
    else if (slot.walStatus === 'lost')
      drops.push({ do: 'drop', slot: wish.name, why: 'its WAL was removed: it is made anew' });
    else if (isLeftover(question, slot))
      drops.push({ do: 'drop', slot: wish.name, why: 'Postgres makes it anew from the one of the leader' });
    else {
      if (version >= NATIVE_SLOT_SYNC && wish.kind === 'logical' && !slot.failover && !server.inRecovery)
        problems.set(
          wish.name,
          'it does not survive a failover: on a replication connection say ALTER_REPLICATION_SLOT with (FAILOVER true)',
        );
      moves.push(...moved(question, slot));
    }
  }

  const wanted = new Set([...needed, ...permanent.map(({ name }) => name)]);
  const { dropped, strangers } = unwanted(question, wanted);
  return { steps: [...dropped, ...drops, ...creates, ...moves], toCopy, strangers, problems };
}

/** Those of the operator's slots that are kept on this node. */
function wantedPermanent(question: SlotQuestion, problems: Map<string, string>): readonly PermanentSlot[] {
  const { policy, members, needed, mayLead, server } = question;
  return policy.permanent.filter((wish) => {
    if (members.has(wish.name) || needed.has(wish.name)) {
      problems.set(wish.name, 'this is the name of the slot of a member: choose another in `slots`');
      return false;
    }
    return mayLead || !server.inRecovery;
  });
}

function missingPermanent(question: SlotQuestion, wish: PermanentSlot): SlotStep | 'copy' | null {
  const { server, positions, published, version } = question;
  if (server.inRecovery) {
    // Not before the leader has it: nothing would move it, and it would hold WAL back for ever.
    if (!positions.has(wish.name)) return null;
    if (wish.kind === 'physical') return { do: 'create-physical', slot: wish.name };
    return version >= NATIVE_SLOT_SYNC ? null : 'copy';
  }
  if (wish.kind === 'physical') return { do: 'create-physical', slot: wish.name };
  return {
    do: 'create-logical',
    slot: wish.name,
    database: wish.database ?? '',
    plugin: wish.plugin ?? '',
    failover: version >= NATIVE_SLOT_SYNC,
    lostPosition: published.has(wish.name),
  };
}

/**
 * On a standby a slot follows the leader's, and never passes what was replayed here. A member without a known position
 * is the primary, or somebody who needs nothing older than we replay: its slot must not hold back WAL for ever. A
 * primary gives up only what is known not to be needed.
 */
function moved({ server, positions, needed }: SlotQuestion, slot: SlotState): readonly SlotStep[] {
  const at = slot.kind === 'logical' ? slot.confirmedLsn : slot.restartLsn;
  const known = positions.get(slot.name) ?? (server.inRecovery && needed.has(slot.name) ? server.end : null);
  if (slot.synced || at === null || known === null) return [];
  // The consumers of the operator's slots move them on the primary.
  if (!server.inRecovery && !needed.has(slot.name)) return [];
  const to = known < server.end ? known : server.end;
  return to <= at ? [] : [{ do: 'advance', slot: slot.name, to, database: slot.database }];
}

/** A standby's feedback of other days: who streamed here streams elsewhere now, and rows are kept for nobody. */
function isStale({ server, fed, positions }: SlotQuestion, slot: SlotState): boolean {
  if (slot.xmin === null && slot.catalogXmin === null) return false;
  return server.inRecovery ? !fed.has(slot.name) : positions.has(slot.name);
}

/** A logical slot of a former primary stands in the way of the one that Postgres itself would make from the leader's. */
function isLeftover({ server, version, positions }: SlotQuestion, slot: SlotState): boolean {
  const native = version >= NATIVE_SLOT_SYNC && server.inRecovery && slot.kind === 'logical';
  return native && !slot.synced && positions.has(slot.name);
}

/** What the slot is instead, in words; null: it is what was asked for. */
function differsFrom(slot: SlotState, wish: PermanentSlot): string | null {
  if (slot.kind !== wish.kind) return `a ${slot.kind} one, and ${wish.kind} is asked for`;
  if (slot.database !== wish.database) return `in database ${slot.database}, and ${wish.database} is asked for`;
  if (slot.plugin !== wish.plugin) return `for plugin ${slot.plugin}, and ${wish.plugin} is asked for`;
  return null;
}

/**
 * A slot has no owner, and one that an archiver or a backup tool made holds WAL that somebody still needs. That of a
 * former member goes, its time is over. Any other, also one that the configuration does not name any more, is told of
 * first, and goes when it was left unused for as long as the slot of an absent member is kept.
 */
function unwanted(
  question: SlotQuestion,
  wanted: ReadonlySet<string>,
): { readonly dropped: readonly SlotStep[]; readonly strangers: ReadonlyMap<string, Instant> } {
  const { server, policy, made, now, patience } = question;
  const dropped: SlotStep[] = [];
  const strangers = new Map<string, Instant>();
  if (!policy.complete) return { dropped, strangers: question.strangers };
  for (const slot of server.slots) {
    if (wanted.has(slot.name) || slot.temporary || slot.active || slot.synced) continue;
    // Whoever made it asked Postgres itself to keep it on all nodes.
    if (slot.kind === 'logical' && slot.failover) continue;
    if (policy.ignored.some((matcher) => matches(matcher, slot))) continue;
    if (made.has(slot.name)) {
      dropped.push({ do: 'drop', slot: slot.name, why: 'its member has been gone for member_slots_ttl' });
      continue;
    }
    const since = question.strangers.get(slot.name) ?? now;
    if (between(since, now) >= patience)
      dropped.push({
        do: 'drop',
        slot: slot.name,
        why: 'nobody used it for member_slots_ttl, and it stands neither in `slots` nor in `ignore_slots`',
      });
    else strangers.set(slot.name, since);
  }
  return { dropped, strangers };
}

function matches(matcher: SlotMatcher, slot: SlotState): boolean {
  return (
    (matcher.name === null || matcher.name === slot.name) &&
    (matcher.kind === null || matcher.kind === slot.kind) &&
    (matcher.database === null || matcher.database === slot.database) &&
    (matcher.plugin === null || matcher.plugin === slot.plugin)
  );
}

/** What a slot costs its server, from nothing to speak of to WAL that is gone. */
export type SlotBurden = 'fine' | 'much' | 'extended' | 'unreserved' | 'lost';

export interface WeighedSlot {
  readonly name: string;
  readonly kind: SlotKind;
  readonly active: boolean;
  readonly retainedBytes: bigint;
  readonly walStatus: SlotState['walStatus'];
  readonly burden: SlotBurden;
}

/**
 * How much WAL each slot holds back.
 *
 * @param before - as it was weighed last: a slot that hovers about the threshold is told of once
 * @param threshold - slot_wal_warning in bytes; 0: only what Postgres itself says counts
 */
export function weigh(
  server: ServerSlots,
  threshold: bigint,
  before: readonly WeighedSlot[] = [],
): readonly WeighedSlot[] {
  const lately = new Map(before.map((slot) => [slot.name, slot.burden]));
  return server.slots.map((slot) => {
    const retainedBytes = slot.restartLsn === null ? 0n : distance(slot.restartLsn, server.end);
    const calm = lately.get(slot.name) === 'much' ? threshold / 2n : threshold;
    const burden: SlotBurden =
      slot.walStatus !== null && slot.walStatus !== 'reserved'
        ? slot.walStatus
        : threshold > 0n && retainedBytes > calm
          ? 'much'
          : 'fine';
    const { name, kind, active, walStatus } = slot;
    return { name, kind, active, retainedBytes, walStatus, burden };
  });
}

const BURDENS: readonly SlotBurden[] = ['fine', 'much', 'extended', 'unreserved', 'lost'];
export const isHeavier = (a: SlotBurden, than: SlotBurden): boolean => BURDENS.indexOf(a) > BURDENS.indexOf(than);

/** What the leader says of the slots that a standby has copied. */
export interface LeaderSlots {
  /**
   * catalog_xmin of the physical slot through which the standby streams: what hot_standby_feedback keeps for it; null:
   * no feedback counts yet.
   */
  readonly kept: Xid | null;
  readonly logical: ReadonlyMap<string, { readonly catalogXmin: Xid | null; readonly confirmedLsn: Lsn | null }>;
}

/**
 * From which catalogue rows on a copy is fit to be used: remembered between looks, forgotten with each new leader.
 * Names that are missing are not known yet.
 */
export type CopyFloors = ReadonlyMap<string, Xid>;

/**
 * Whether rows of the catalogue that a copied slot needs are surely still here. The copy is older than the slot it was
 * made from, and until the standby's feedback counts on the leader nothing keeps those rows:
 *
 * 1. the slot is copied with catalog_xmin 100, and the feedback of the standby is on its way;
 * 2. on the leader the slot moves on to 200, and vacuum removes what only 100 to 200 needed;
 * 3. the standby replays that, and a promoted copy would decode with rows that are gone.
 *
 * So: once the leader keeps rows for us from before its slot's own catalog_xmin, that one is the floor, for nothing
 * beyond it can have been removed before, nor will be from then on. The copy is fit when it has reached the floor.
 *
 * @param copies - the logical slots here, by name, with their catalog_xmin
 */
export function fitness(
  copies: ReadonlyMap<string, Xid | null>,
  leader: LeaderSlots,
  before: CopyFloors,
): { readonly floors: CopyFloors; readonly fit: ReadonlySet<string> } {
  const floors = new Map<string, Xid>();
  const fit = new Set<string>();
  const { kept } = leader;
  // Without feedback nothing is kept for us, whatever was before.
  if (kept === null) return { floors, fit };
  for (const [name, own] of copies) {
    const theirs = leader.logical.get(name)?.catalogXmin ?? null;
    const floor = before.get(name) ?? (theirs !== null && notBefore(theirs, kept) ? theirs : null);
    if (floor === null) continue;
    floors.set(name, floor);
    if (own !== null && notBefore(own, floor) && notBefore(own, kept)) fit.add(name);
  }
  return { floors, fit };
}

/** In words: what a slot costs its server. */
export function describeBurden(slot: WeighedSlot): string {
  const { name, kind, active, burden, retainedBytes } = slot;
  const who = `the ${kind} slot ${name}${active ? '' : ', which nobody uses,'}`;
  if (burden === 'lost') return `${who} has lost the WAL it needs: max_slot_wal_keep_size was passed`;
  const holds = `${who} holds back ${printMegabytes(retainedBytes)} of WAL`;
  switch (burden) {
    case 'unreserved':
      return `${holds}, more than max_slot_wal_keep_size: it is removed with the next checkpoint, and the slot is lost`;
    case 'extended':
      return `${holds}, more than max_wal_size`;
    default:
      return holds;
  }
}

const printMegabytes = (bytes: bigint): string => `${Math.round(Number(bytes) / 2 ** 20)} MB`;

/** Members that would have to share a slot; by slot name, at least two of each. */
export function clashes(
  members: readonly string[],
  slotNameOf: (member: string) => string,
): ReadonlyMap<string, readonly string[]> {
  const bySlot = new Map<string, string[]>();
  for (const member of members) {
    const slot = slotNameOf(member);
    bySlot.set(slot, [...(bySlot.get(slot) ?? []), member]);
  }
  return new Map([...bySlot].filter(([, names]) => names.length > 1).map(([slot, names]) => [slot, names.sort()]));
}
