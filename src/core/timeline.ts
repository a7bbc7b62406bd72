/**
 * Where histories part. A primary's history file names, for each timeline it came through, the position at which it
 * left it; comparing that with our own end of WAL tells whether we hold anything the primary never had.
 */
import { type Lsn, lsn, parseLsn, type Timeline, timeline } from './lsn.ts';

const FIRST = timeline(1);

/** One line of a history file: timeline `timeline` was left at `switchedAt`. */
export interface HistoryEntry {
  readonly timeline: Timeline;
  readonly switchedAt: Lsn;
}

/** All the timelines a server came through, oldest first, without the one it is on. */
export type TimelineHistory = readonly HistoryEntry[];

/** What our WAL is to a server that is now on `timeline` and came there through `history`. */
export type Kinship =
  | { readonly kind: 'same-line' } // everything we have, it has or will send
  | { readonly kind: 'diverged'; readonly at: Lsn } // beyond `at` we hold what it never had
  | { readonly kind: 'ahead' }; // we are on a timeline it has never heard of

/**
 * Does the other server's history contain all of ours?
 *
 * A timeline's number is the next one that its server knows of. Where a primary is lost before anybody has heard of its
 * promotion, the next one takes the same number, and number and position say nothing any more: with our own history the
 * switch positions are compared as well. Two promotions at one position stay undetected; nothing in Postgres tells them
 * apart.
 *
 * @param own.end - end of the valid WAL here; a position that is exactly the switch point is still common
 * @param own.history - through which timelines we came to ours; null: not known, and not compared
 */
export function kinship(
  own: { readonly timeline: Timeline; readonly end: Lsn; readonly history?: TimelineHistory | null },
  other: { readonly timeline: Timeline; readonly history: TimelineHistory },
): Kinship {
  if (own.timeline > other.timeline) return { kind: 'ahead' };
  const parted = own.history == null ? null : partedAt(own.timeline, own.history, other.history);
  if (parted !== null) return { kind: 'diverged', at: parted };
  if (own.timeline === other.timeline) return { kind: 'same-line' };
  const left = other.history.find((entry) => entry.timeline === own.timeline);
  // A newer server that never was on our timeline branched off below us.
  if (left === undefined) return { kind: 'diverged', at: lsn(0n) };
  return own.end <= left.switchedAt ? { kind: 'same-line' } : { kind: 'diverged', at: left.switchedAt };
}

/**
 * From where on our WAL is ours alone, when it is not all part of the other's; null: histories do not tell.
 *
 * @param own - as for {@link kinship}
 */
export function partingPoint(
  own: { readonly timeline: Timeline; readonly end: Lsn; readonly history: TimelineHistory | null },
  other: { readonly timeline: Timeline; readonly history: TimelineHistory },
): Lsn | null {
  const history = own.history ?? (own.timeline === FIRST ? [] : null);
  if (history === null) {
    const kin = kinship(own, other);
    return kin.kind === 'diverged' && kin.at > 0n ? kin.at : null;
  }
  const ours = [...history, { timeline: own.timeline, switchedAt: own.end }];
  const theirs = [...other.history, { timeline: other.timeline, switchedAt: null }];
  let common: Lsn | null = null;
  for (let i = 0; i < ours.length; i++) {
    const [a, b] = [ours[i], theirs[i]];
    if (a === undefined || b === undefined || a.timeline !== b.timeline) return common;
    // Both are on it now: it was begun twice, or nothing parts them.
    if (b.switchedAt === null) return i === ours.length - 1 ? common : a.switchedAt;
    if (a.switchedAt !== b.switchedAt) return a.switchedAt < b.switchedAt ? a.switchedAt : b.switchedAt;
    common = a.switchedAt;
  }
  return common;
}

/** Where two ways to timelines of one number part; null: they are one way, as far as histories tell. */
function partedAt(to: Timeline, own: TimelineHistory, other: TimelineHistory): Lsn | null {
  const theirs = other.filter((entry) => entry.timeline < to);
  let common = lsn(0n);
  for (let i = 0; i < Math.max(own.length, theirs.length); i++) {
    const a = own[i];
    const b = theirs[i];
    // One of them came through a timeline that the other never was on.
    if (a === undefined || b === undefined || a.timeline !== b.timeline) return common;
    if (a.switchedAt !== b.switchedAt) return a.switchedAt < b.switchedAt ? a.switchedAt : b.switchedAt;
    common = a.switchedAt;
  }
  return null;
}

/**
 * Reads a Postgres history file: `<timeline>\t<position>\t<reason>` a line, blank lines and # comments between.
 *
 * @throws {RangeError} when a line is none of these
 */
export function parseHistory(text: string): TimelineHistory {
  const entries: HistoryEntry[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [id, position] = line.split('\t');
    if (id === undefined || position === undefined || !/^\d+$/.test(id.trim())) {
      throw new RangeError(`not a line of a history file: ${line}`);
    }
    entries.push({ timeline: timeline(Number(id)), switchedAt: parseLsn(position.trim()) });
  }
  return entries;
}
