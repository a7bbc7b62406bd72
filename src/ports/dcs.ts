/**
 * The store that says who leads: etcd, or the simulation's model of it.
 *
 * Nothing here throws for what can happen in operation: an answer that did not come is a value, and for a write it is
 * `unknown` — perhaps applied, perhaps still to be applied after we gave up. No call repeats a write by itself. (The
 * adapter may send one read or one idempotent transaction to a second endpoint while the first is slow.)
 */
import type { Header, Key, KeyValue, LeaseId, Revision, Txn } from '../core/store.ts';
import type { Millis } from '../core/time.ts';

export type ReadAnswer =
  | { readonly kind: 'answered'; readonly header: Header; readonly entries: readonly KeyValue[] }
  | { readonly kind: 'unanswered'; readonly cause: string };

export type TxnAnswer =
  | {
      readonly kind: 'answered';
      readonly header: Header;
      /**
       * Whether all conditions held, that is: whether `success` was applied. When not, it may be because another copy of
       * this very transaction was applied first: what was `found` tells.
       */
      readonly succeeded: boolean;
      /** What the `get`s of the branch that ran found; null for a key that does not exist. */
      readonly found: ReadonlyMap<Key, KeyValue | null>;
    }
  /**
   * etcd says that it did not apply it: the lease does not exist, no space, no permission. `no-space` is not certain:
   * the transaction with which the quota is crossed is applied and answered with it.
   */
  | { readonly kind: 'failed'; readonly cause: string; readonly reason: 'lease-not-found' | 'no-space' | 'other' }
  /** No answer in time, or the connection broke: may have been applied, may still be. Read before acting. */
  | { readonly kind: 'unknown'; readonly cause: string };

export type GrantAnswer =
  /** `ttl` is what etcd granted, which may be more than was asked for. */
  | { readonly kind: 'granted'; readonly lease: LeaseId; readonly ttl: Millis; readonly header: Header }
  | { readonly kind: 'unanswered'; readonly cause: string };

export type KeepAliveAnswer =
  | { readonly kind: 'renewed'; readonly ttl: Millis; readonly header: Header }
  /** This lease does not exist there (any more). */
  | { readonly kind: 'gone'; readonly header: Header }
  | { readonly kind: 'unanswered'; readonly cause: string };

export interface StoreVersion {
  readonly endpoint: string;
  /** `3.4.23`; null when the endpoint did not answer. */
  readonly version: string | null;
}

/** One change in a hint; `revision` is the mod_revision of the put or delete. */
export interface Change {
  readonly key: Key;
  readonly revision: Revision;
}

/** Ends a watch. */
export type StopWatching = () => void;

export interface Dcs {
  /** Linearizable read of all keys of the cluster. */
  read(limit: Millis): Promise<ReadAnswer>;
  txn(txn: Txn, limit: Millis): Promise<TxnAnswer>;
  grant(ttl: Millis, limit: Millis): Promise<GrantAnswer>;
  keepAlive(lease: LeaseId, limit: Millis): Promise<KeepAliveAnswer>;
  /** Unconditional, and may be applied late: never for a lease that carries a leader key while Postgres runs. */
  revoke(lease: LeaseId, limit: Millis): Promise<void>;
  /**
   * Calls `hint` whenever something below the cluster's path may have changed: which key, and the revision of the
   * change (null: the stream broke and came back, anything may have changed). A hint is a reason to read again and
   * never a fact about a value; that a revision existed by the time its hint arrived is all it proves. Hints may come
   * late, repeatedly, or not at all.
   */
  watch(hint: (changes: readonly Change[] | null) => void): StopWatching;
  /** Asks each endpoint for its version, for the warning about the known lease bug. */
  versions(limit: Millis): Promise<readonly StoreVersion[]>;
  close(): Promise<void>;
}
