/**
 * The consoles of the poolers (PgBouncer) in front of this cluster. Every call ends within its limit and none throws
 * but where it says so: what a pooler did not do is an answer.
 */
import type { PoolerDatabase } from '../core/poolers.ts';
import type { Millis } from '../core/time.ts';

export type PauseOutcome =
  | { readonly kind: 'paused' }
  /** Clients are held back, and not all transactions ended in time. */
  | { readonly kind: 'waiting' }
  /** It was paused before, by whom it does not say. */
  | { readonly kind: 'was-paused' }
  /** It says no: nobody is held back there. */
  | { readonly kind: 'refused'; readonly said: string }
  /** It may have been paused all the same. */
  | { readonly kind: 'unclear'; readonly said: string };

export interface PoolerConsole {
  /** Those that are known to it: one that is made on demand only once somebody has used it. @throws when it does not say */
  databases(limit: Millis): Promise<readonly PoolerDatabase[]>;
  /** @param names - empty: all databases at once */
  pause(names: readonly string[], limit: Millis, signal: AbortSignal): Promise<PauseOutcome>;
  /** Harmless where nothing is paused. @throws when it did not confirm */
  resume(names: readonly string[], limit: Millis): Promise<void>;
  close(): void;
}

export type ConsoleAnswer =
  | { readonly kind: 'open'; readonly console: PoolerConsole }
  | { readonly kind: 'silent'; readonly said: string };

export interface Poolers {
  /** The databases that are paused by name; empty: all of them at once. */
  readonly pausedByName: readonly string[];
  open(address: string, limit: Millis): Promise<ConsoleAnswer>;
  /**
   * The pooler on this machine leads to one node: it is made to lead to this one from now on. Does nothing where no
   * `databases_file` is kept here, or where it says so already.
   *
   * @throws when the file cannot be written or the pooler does not read it again
   */
  leadTo(server: { readonly host: string; readonly port: number }, limit: Millis): Promise<void>;
}
