/**
 * What happened, kept in etcd for people: each member's list of events, the history of lags, and who asked for what. Apart from
 * ports/dcs.ts, because no decision rests on it: it is not in the read of each cycle, and it may be lost.
 */
import type { KeyValue, Revision } from '../core/store.ts';
import type { Millis } from '../core/time.ts';

/** Below `/<namespace>/<scope>/pgha/`: `events/<member>`, `lag`, or `audit`. */
export type ChronicleKey = `events/${string}` | 'lag' | 'audit';

export type PutAnswer =
  | { readonly kind: 'applied'; readonly revision: Revision }
  /** The key was not as expected; this is what it is now. */
  | { readonly kind: 'refused'; readonly found: KeyValue | null }
  /** Perhaps applied: the next answer tells. */
  | { readonly kind: 'unknown'; readonly cause: string };

export type ChronicleAnswer =
  /** Keys as {@link ChronicleKey} has them. */
  | { readonly kind: 'answered'; readonly entries: readonly KeyValue[] }
  | { readonly kind: 'unanswered'; readonly cause: string };

export interface Chronicle {
  read(limit: Millis): Promise<ChronicleAnswer>;
  /** Writes only if the key is as it was at `known`; ABSENT: if there is no such key. */
  put(key: ChronicleKey, value: string, known: Revision, limit: Millis): Promise<PutAnswer>;
}
