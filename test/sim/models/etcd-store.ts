/**
 * The key store inside the model of etcd: one global revision, keys with their create and mod revision and lease,
 * transactions that compare and apply in one step. No time, no network, no members: `etcd.ts` has those.
 *
 * @see etcd `server/etcdserver/apply.go` and `storage/mvcc`; test/contract/dcs.test.ts holds it to the real one
 */
import { assertNever } from '../../../src/core/invariant.ts';
import type { Compare, Key, KeyValue, LeaseId, Op, Revision, Txn } from '../../../src/core/store.ts';
import { ABSENT, leaseId, revision } from '../../../src/core/store.ts';
import type { Change, TxnAnswer } from '../../../src/ports/dcs.ts';

const NO_LEASE = leaseId('0');

export type Applied =
  | {
      readonly kind: 'applied';
      readonly succeeded: boolean;
      readonly found: ReadonlyMap<Key, KeyValue | null>;
      readonly changes: readonly Change[];
    }
  | Extract<TxnAnswer, { kind: 'failed' }>;

export interface Conditions {
  readonly leaseExists: (lease: LeaseId) => boolean;
  readonly outOfSpace: boolean;
}

export class KeyStore {
  private keys: Map<Key, KeyValue>;
  private current: Revision;
  /** All keys in order, until the next change: they are read far more often than they change. */
  private sorted: readonly KeyValue[] | null = null;

  /** @param at - the first revision: of one that has been there for long, much more than of one that was emptied */
  constructor(from?: KeyStore, at: Revision = revision(1)) {
    this.keys = new Map(from?.keys);
    this.current = from?.current ?? at;
  }

  get revision(): Revision {
    return this.current;
  }

  get(key: Key): KeyValue | null {
    return this.keys.get(key) ?? null;
  }

  entries(): readonly KeyValue[] {
    this.sorted ??= [...this.keys.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
    return this.sorted;
  }

  apply(txn: Txn, { leaseExists, outOfSpace }: Conditions): Applied {
    for (const branch of [txn.success, txn.failure]) {
      if (writesTwice(branch)) return failed('other', 'duplicate key given in txn request');
    }
    // The quota is asked before the conditions: a put in the branch that would not run counts too.
    if (outOfSpace && [...txn.success, ...txn.failure].some((op) => op.op === 'put')) {
      return failed('no-space', 'mvcc: database space exceeded');
    }
    const succeeded = txn.compare.every((compare) => this.holds(compare));
    const branch = succeeded ? txn.success : txn.failure;
    for (const op of branch) {
      if (op.op === 'put' && op.lease !== null && !leaseExists(op.lease)) {
        return failed('lease-not-found', 'requested lease not found');
      }
    }
    const found = new Map<Key, KeyValue | null>();
    const changes: Change[] = [];
    const next = revision(this.current + 1n);
    for (const op of branch) this.run(op, next, found, changes);
    if (changes.length > 0) {
      this.current = next;
      this.sorted = null;
    }
    return { kind: 'applied', succeeded, found, changes };
  }

  /** What the end of a lease does: all its keys go in one revision. */
  deleteAttachedTo(lease: LeaseId): readonly Change[] {
    const attached = this.entries().filter((entry) => entry.lease === lease);
    if (attached.length === 0) return [];
    this.current = revision(this.current + 1n);
    this.sorted = null;
    return attached.map(({ key }) => {
      this.keys.delete(key);
      return { key, revision: this.current };
    });
  }

  private holds(compare: Compare): boolean {
    const now = this.keys.get(compare.key);
    if ('modRevision' in compare) return (now?.modRevision ?? ABSENT) === compare.modRevision;
    if ('createRevision' in compare) return (now?.createRevision ?? ABSENT) === compare.createRevision;
    return (now?.lease ?? NO_LEASE) === compare.lease;
  }

  private run(op: Op, at: Revision, found: Map<Key, KeyValue | null>, changes: Change[]): void {
    switch (op.op) {
      case 'get':
        found.set(op.key, this.get(op.key));
        return;
      case 'put': {
        const createRevision = this.keys.get(op.key)?.createRevision ?? at;
        this.keys.set(op.key, { key: op.key, value: op.value, createRevision, modRevision: at, lease: op.lease });
        changes.push({ key: op.key, revision: at });
        return;
      }
      case 'delete':
        if (this.keys.delete(op.key)) changes.push({ key: op.key, revision: at });
        return;
      default:
        assertNever(op);
    }
  }
}

function writesTwice(branch: readonly Op[]): boolean {
  const put = branch.filter((op) => op.op === 'put').map((op) => op.key);
  const deleted = branch.filter((op) => op.op === 'delete').map((op) => op.key);
  return new Set(put).size < put.length || put.some((key) => deleted.includes(key));
}

function failed(reason: Extract<TxnAnswer, { kind: 'failed' }>['reason'], cause: string): Applied {
  return { kind: 'failed', reason, cause: `etcdserver: ${cause}` };
}
