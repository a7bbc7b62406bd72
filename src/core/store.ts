/**
 * The words in which pgha talks about the store: keys relative to `/<namespace>/<scope>/`, revisions, leases and
 * transactions. etcd's semantics, none of its client. The transactions that prove, take and give up leadership are
 * built from these in core/leadership.ts, so that the simulation runs exactly the conditions that production runs.
 */

/** A revision of the store. 0 stands for "the key does not exist" in comparisons, as in etcd. */
export type Revision = bigint & { readonly __brand: 'Revision' };
export const revision = (n: bigint | number | string): Revision => BigInt(n) as Revision;
export const ABSENT: Revision = revision(0n);

/** 64 bit, kept as decimal text everywhere. */
export type LeaseId = string & { readonly __brand: 'LeaseId' };
export const leaseId = (text: string): LeaseId => text as LeaseId;

export type NodeName = string & { readonly __brand: 'NodeName' };
export const nodeName = (text: string): NodeName => text as NodeName;

/** `leader`, `status`, `members/a`: below the cluster's base path. */
export type Key = string;

export interface KeyValue {
  readonly key: Key;
  readonly value: string;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** null when the key hangs on no lease. */
  readonly lease: LeaseId | null;
}

/** All conditions of a transaction must hold. */
export type Compare =
  | { readonly key: Key; readonly modRevision: Revision }
  | { readonly key: Key; readonly createRevision: Revision }
  | { readonly key: Key; readonly lease: LeaseId };

export type Op =
  | { readonly op: 'put'; readonly key: Key; readonly value: string; readonly lease: LeaseId | null }
  | { readonly op: 'delete'; readonly key: Key }
  | { readonly op: 'get'; readonly key: Key };

export interface Txn {
  readonly compare: readonly Compare[];
  readonly success: readonly Op[];
  readonly failure: readonly Op[];
}

/** Stands in every answer of etcd. */
export interface Header {
  readonly clusterId: string;
  readonly raftTerm: bigint;
  readonly revision: Revision;
}

/** All keys as they stood at one revision. */
export interface Snapshot {
  readonly revision: Revision;
  readonly entries: readonly KeyValue[];
}

/**
 * Whether two reads can be of one history, the second after the first. What stands there now and was made or written
 * before the first read has to have stood there then; otherwise etcd was restored from a backup in between, also where
 * its revisions are the higher ones: a backup of before it was emptied.
 *
 * @param undying - a key that nobody ever deletes: made anew since, it is another one's. Where an operator did that by
 *   hand it is taken for a restore, too.
 */
export function isOneHistory(before: Snapshot, now: Snapshot, undying: Key): boolean {
  if (now.revision < before.revision) return false;
  const then = new Map(before.entries.map((entry) => [entry.key, entry]));
  return now.entries.every((entry) => {
    const { key, createRevision, modRevision } = entry;
    const known = then.get(key);
    if (key === undying && known !== undefined && known.createRevision !== createRevision) return false;
    if (createRevision <= before.revision && known?.createRevision !== createRevision) return false;
    return modRevision > before.revision || (known !== undefined && isSame(known, entry));
  });
}

const isSame = (a: KeyValue, b: KeyValue): boolean =>
  a.modRevision === b.modRevision && a.value === b.value && a.lease === b.lease;
