/**
 * The transactions by which the leader key is taken, proven, kept and given up, and what their answers mean
 * (protocol.md 3 to 5). Pure: the lease keeper sends them. Every condition in here stands for a story in which two
 * nodes wrote at once because it was missing.
 */
import { type Beat, KEYS, type Release, readStatusKey, writeStatus, writeSync } from './cluster.ts';
import { deadlineOf } from './lease.ts';
import type { Lsn } from './lsn.ts';
import type { SyncKey } from './quorum.ts';
import { ABSENT, type KeyValue, type LeaseId, type NodeName, type Op, type Revision, type Txn } from './store.ts';
import { between, type Instant, LONG_AGO, laterBy, latest, longest, type Millis, millis } from './time.ts';

/** One leadership as its holder knows it. A value; every step gives the next one. */
export interface Tenure {
  /** mod_revision of the leader key as taken. */
  readonly term: Revision;
  readonly lease: LeaseId;
  /** As granted by etcd. */
  readonly ttl: Millis;
  /** R: the newest revision of `status` this process knows. */
  readonly statusRevision: Revision;
  /** Of the last beat that was sent. */
  readonly seq: number;
  /** The last instant Postgres may write here; LONG_AGO while no window was ever opened. */
  readonly until: Instant;
  /** Inherited with the key: not before this may anything be opened. */
  readonly gate: Instant;
  /** A release was sent and no newer beat has succeeded since (rule 18). */
  readonly releaseSent: boolean;
}

/** What stands in `status` beside the beat: Patroni's fields. */
export interface StatusFields {
  readonly optime: Lsn | null;
  readonly slots: ReadonlyMap<string, Lsn>;
  readonly retainSlots: readonly string[];
  /** This node. */
  readonly leader: NodeName | null;
  /** Where this node stands (`location`). */
  readonly location: string | null;
  /** Postgres here was not promoted under this key: for the loss statement of the one after us. */
  readonly unpromoted?: boolean;
  /** This cluster follows another one. */
  readonly standbyCluster?: boolean;
}

/** A beat whose term is the revision of the very version that carries it: the key is written in the same transaction. */
export const THIS_VERSION: Revision = ABSENT;

/**
 * How long nobody may promote after he has seen the beat that is about to be sent (rule 1).
 *
 * While the inherited gate has not passed it is only what is left of it: should this node die, the next one waits no
 * longer than this one would have (rule 16). Afterwards never less than what is still open here: a shorter hold would
 * end another node's wait inside our window (stories 8 and 10).
 *
 * @param sentAt - S, the monotonic instant just before the keepalive of this cycle
 */
export function holdFor(tenure: Tenure, sentAt: Instant, ttl: Millis = tenure.ttl): Millis {
  if (sentAt < tenure.gate) return millis(Math.ceil(between(sentAt, tenure.gate)));
  return millis(Math.ceil(longest(ttl, between(sentAt, tenure.until))));
}

const leaderAndStatus = [
  { op: 'get', key: KEYS.leader },
  { op: 'get', key: KEYS.status },
] as const;

/** Rule 3: the write that proves, conditional on key, lease and R. */
export function beatTxn(tenure: Tenure, seq: number, holdMs: Millis | null, fields: StatusFields): Txn {
  const beat: Beat = { term: tenure.term, seq, holdMs, release: null };
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
    ],
    success: [{ op: 'put', key: KEYS.status, value: writeStatus({ ...fields, beat }), lease: null }],
    failure: leaderAndStatus,
  };
}

export type BeatVerdict =
  /** It stands in etcd, by this attempt or an earlier one of the same beat. */
  | { readonly kind: 'landed'; readonly statusRevision: Revision }
  /** A delayed write of ours landed in between: the key is ours, R moved. Not a loss; again at once. [story 1] */
  | { readonly kind: 'repeat'; readonly statusRevision: Revision }
  /**
   * `ours`: the newest status is of our own term, or there is none: nobody has led since and said so. `later`: it is of a
   * term after ours; `by`: who wrote it, null where it does not say.
   */
  | {
      readonly kind: 'key-absent';
      readonly statusRevision: Revision;
      readonly ours: boolean;
      readonly later: boolean;
      readonly by: NodeName | null;
    }
  | { readonly kind: 'lost'; readonly holder: NodeName | null };

/** What a refused beat's failure branch says. */
export function judgeRefusedBeat(
  tenure: Tenure,
  seq: number,
  leader: KeyValue | null,
  status: KeyValue | null,
): BeatVerdict {
  const statusRevision = status?.modRevision ?? ABSENT;
  const written = status === null ? null : readStatusKey(status);
  const beat = written?.beat ?? null;
  if (leader === null) {
    const ours = status === null || (beat?.term === tenure.term && beat.release === null);
    const later = beat !== null && beat.term > tenure.term;
    return { kind: 'key-absent', statusRevision, ours, later, by: written?.leader ?? null };
  }
  const ours = leader.modRevision === tenure.term && leader.lease === tenure.lease;
  if (!ours) return { kind: 'lost', holder: leader.value as NodeName };
  const landed = beat !== null && beat.term === tenure.term && beat.seq === seq && beat.release === null;
  return landed ? { kind: 'landed', statusRevision } : { kind: 'repeat', statusRevision };
}

/** A proof: keepalive renewed, beat landed, both answered in the same raft term (rule 4). */
export interface Proof {
  readonly sentAt: Instant;
  readonly hold: Millis;
}

/**
 * The keepalive's header is filled before the renewal, a transaction's after it was applied: equal terms mean that the
 * etcd leader which renewed could still commit afterwards (stories 14 and 15).
 */
export function isProof(keepAliveTerm: bigint, beatTerm: bigint): boolean {
  return keepAliveTerm === beatTerm;
}

/**
 * The window after a proof (rule 5): counted from S, never from the answer, and never shortened.
 *
 * @param arrived - now, when the proof is complete
 * @param downSince - since when Postgres is known not to accept writes; null while it may
 * @returns null when the proof is worthless: it opens nothing at the gate, and it revives no window that has passed
 *   while Postgres was up as primary
 */
export function windowAfter(tenure: Tenure, proof: Proof, arrived: Instant, downSince: Instant | null): Instant | null {
  if (proof.sentAt < tenure.gate) return null;
  const passed = arrived >= deadlineOf(tenure.until, tenure.ttl);
  const mayOpenAnew = downSince !== null && proof.sentAt >= downSince;
  if (passed && !mayOpenAnew) return null;
  return latest(tenure.until, laterBy(proof.sentAt, proof.hold));
}

/**
 * Rule 6: the key vanished inside of an open window; it is taken again together with a beat of the new term. Inside of
 * the window nobody can have led since.
 */
export function retakeTxn(
  self: NodeName,
  lease: LeaseId,
  statusRevision: Revision,
  seq: number,
  holdMs: Millis | null,
  fields: StatusFields,
): Txn {
  const beat: Beat = { term: THIS_VERSION, seq, holdMs, release: null };
  return {
    compare: [
      { key: KEYS.leader, createRevision: ABSENT },
      { key: KEYS.status, modRevision: statusRevision },
    ],
    success: [
      { op: 'put', key: KEYS.leader, value: self, lease },
      { op: 'put', key: KEYS.status, value: writeStatus({ ...fields, beat }), lease: null },
    ],
    failure: leaderAndStatus,
  };
}

/** Rule 8: the TTL changed; term and lease change together, with a beat in the same transaction. */
export function swapLeaseTxn(
  self: NodeName,
  tenure: Tenure,
  lease: LeaseId,
  seq: number,
  holdMs: Millis | null,
  fields: StatusFields,
): Txn {
  const beat: Beat = { term: THIS_VERSION, seq, holdMs, release: null };
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
    ],
    success: [
      { op: 'put', key: KEYS.leader, value: self, lease },
      { op: 'put', key: KEYS.status, value: writeStatus({ ...fields, beat }), lease: null },
    ],
    failure: leaderAndStatus,
  };
}

/**
 * Rule 13: a free key, as long as `status` is still the version whose gate has passed, and the failsafe list the one in
 * which this node has found itself (rule 33).
 */
export function acquireTxn(self: NodeName, lease: LeaseId, statusRevision: Revision, listRevision: Revision): Txn {
  return {
    compare: [
      { key: KEYS.leader, createRevision: ABSENT },
      { key: KEYS.status, modRevision: statusRevision },
      { key: KEYS.failsafe, modRevision: listRevision },
    ],
    success: [{ op: 'put', key: KEYS.leader, value: self, lease }],
    failure: leaderAndStatus,
  };
}

/**
 * Rule 13, second form: the key still stands although the gate has passed. Its owner's window closed by the same
 * argument as if the key were gone; etcd only deletes late. The owner's lease is left to run out.
 *
 * @param standing - the term that `status` names, which must be the key's
 */
export function takeOverTxn(
  self: NodeName,
  lease: LeaseId,
  standing: Revision,
  statusRevision: Revision,
  listRevision: Revision,
): Txn {
  return {
    compare: [
      { key: KEYS.leader, modRevision: standing },
      { key: KEYS.status, modRevision: statusRevision },
      { key: KEYS.failsafe, modRevision: listRevision },
    ],
    success: [{ op: 'put', key: KEYS.leader, value: self, lease }],
    failure: leaderAndStatus,
  };
}

/**
 * Rule 17: the release record is a version of `status`, written in the transaction that deletes the key, and only
 * with Postgres verified down.
 *
 * @param endless - in maintenance the one that is named writes already, and nothing ends it
 */
export function releaseTxn(
  tenure: Tenure,
  seq: number,
  now: Instant,
  final: Release,
  fields: StatusFields,
  endless = false,
): Txn {
  const left = millis(Math.max(0, Math.ceil(between(now, tenure.gate))));
  const beat: Beat = { term: tenure.term, seq, holdMs: endless ? null : left, release: final };
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
    ],
    success: [
      { op: 'delete', key: KEYS.leader },
      { op: 'put', key: KEYS.status, value: writeStatus({ ...fields, beat }), lease: null },
    ],
    failure: leaderAndStatus,
  };
}

/**
 * Rule 28: the failsafe list, never by a plain put. Conditional on the list that is there, too: what an earlier process
 * of this node has sent in the same term must not land over it.
 */
export function listTxn(tenure: Tenure, members: ReadonlyMap<NodeName, string>, listRevision: Revision): Txn {
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.failsafe, modRevision: listRevision },
    ],
    success: [{ op: 'put', key: KEYS.failsafe, value: JSON.stringify(Object.fromEntries(members)), lease: null }],
    failure: [{ op: 'get', key: KEYS.failsafe }],
  };
}

/** The `sync` key as it was judged by, and what it says from now on. */
export interface SyncChange {
  /** ABSENT: there was none. */
  readonly revision: Revision;
  /** null: it goes. */
  readonly key: SyncKey | null;
}

/**
 * The key is taken only while the `sync` key is the version by which this node was found to have every commit, and from
 * the same instant on whoever led before votes like the others.
 */
export function withSync(txn: Txn, change: SyncChange): Txn {
  return {
    ...txn,
    compare: [...txn.compare, { key: KEYS.sync, modRevision: change.revision }],
    success: [...txn.success, ...syncOps(change)],
  };
}

function syncOps({ revision, key }: SyncChange): readonly Op[] {
  if (key !== null) return [{ op: 'put', key: KEYS.sync, value: writeSync(key), lease: null }];
  return revision === ABSENT ? [] : [{ op: 'delete', key: KEYS.sync }];
}

/** One step of a leader: only in its own term, and only over the version that the step was made for. */
export function syncTxn(term: Revision, change: SyncChange): Txn {
  return {
    compare: [
      { key: KEYS.leader, modRevision: term },
      { key: KEYS.sync, modRevision: change.revision },
    ],
    success: syncOps(change),
    failure: [{ op: 'get', key: KEYS.sync }],
  };
}

/** A tenure that begins: nothing is proven, nothing open. */
export function begin(term: Revision, lease: LeaseId, ttl: Millis, statusRevision: Revision, gate: Instant): Tenure {
  return { term, lease, ttl, statusRevision, seq: 0, until: LONG_AGO, gate, releaseSent: false };
}
