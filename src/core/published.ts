/**
 * How old a standby's data are: which positions the leader has published, and when it was heard to stand there. One monotonic clock, so that clocks of different machines are never compared. Pure, and nothing is decided here.
 */
import type { Lsn } from './lsn.ts';
import { between, type Instant, type Millis, millis } from './time.ts';

export interface Publication {
  readonly lsn: Lsn;
  /** When the leader was last heard to stand there. */
  readonly heardAt: Instant;
}

/** Oldest first, positions growing. */
export type Publications = readonly Publication[];

/** Older ones are thinned out: every second one of the older half goes. */
const MOST = 512;

/** @param lsn - what `status` says now; null: nothing */
export function notePublished(known: Publications, lsn: Lsn | null, heardAt: Instant): Publications {
  const last = known.at(-1);
  if (lsn === null || (last !== undefined && heardAt <= last.heardAt)) return known;
  if (last !== undefined && last.lsn === lsn) return [...known.slice(0, -1), { lsn, heardAt }];
  // Another primary goes on from an earlier position: what was published beyond it belongs to a line that has ended.
  const kept = last !== undefined && lsn < last.lsn ? known.filter((one) => one.lsn < lsn) : known;
  const noted = [...kept, { lsn, heardAt }];
  return noted.length <= MOST ? noted : noted.filter((_, i) => i >= MOST / 2 || i % 2 === 0);
}

/**
 * How much older than the last publication the data are that end at `position`: 0 where it has all that was published.
 *
 * @returns null when it is further behind than this process has listened: older than can be told
 */
export function behindInTime(known: Publications, position: Lsn): Millis | null {
  const last = known.at(-1);
  if (last === undefined || position >= last.lsn) return millis(0);
  // The newest that it has: up to the moment at which the leader last stood there, its data are whole.
  const whole = known.findLast((one) => one.lsn <= position);
  return whole === undefined ? null : between(whole.heardAt, last.heardAt);
}
