/**
 * Whether the WAL of a primary gets to its disk. A disk that takes no writes any more lets every check pass, because
 * nothing that a check reads comes from it, while no commit ends. It shows in two facts together: processes wait for a
 * write of WAL, and the flushed position stands still. An idle server has only the second, a busy one only the first.
 */

import type { Lsn } from '../core/lsn.ts';
import { between, type Instant, type Millis, millis } from '../core/time.ts';

export class WalProgress {
  #flushed: Lsn | null = null;
  #flushedSince: Instant | null = null;
  #waitingSince: Instant | null = null;

  /** Nothing known before holds: another server, or one out of sight. */
  forget(): void {
    this.#flushed = null;
    this.#flushedSince = null;
    this.#waitingSince = null;
  }

  /**
   * @param flushed - of a primary; null on a standby
   * @param waiting - how long the oldest statement runs that waits for WAL to be written; null: nobody waits. What waits
   *   and is no statement (the WAL writer) counts as just begun
   * @returns for how long at least somebody has waited while nothing was flushed; null: it flows, or nobody waits
   */
  note(now: Instant, flushed: Lsn | null, waiting: Millis | null): Millis | null {
    if (flushed === null || this.#flushed !== flushed || this.#flushedSince === null) {
      this.#flushed = flushed;
      this.#flushedSince = now;
      this.#waitingSince = waiting === null ? null : now;
      return null;
    }
    if (waiting === null) {
      this.#waitingSince = null;
      return null;
    }
    this.#waitingSince ??= now;
    const waited = Math.max(waiting, between(this.#waitingSince, now));
    return millis(Math.min(waited, between(this.#flushedSince, now)));
  }
}
