/**
 * Looks at WAL that a rewind or a copy would undo, before it does: whether all of it is still here, and commits of how long
 * a time are in it. Reads file names and the first and last commits, so that it takes no longer for gigabytes.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn, parseLsn, printLsn, segmentName, type Timeline, timeline } from '../core/lsn.ts';
import { laterBy, type Millis, millis } from '../core/time.ts';
import { runCommand } from './command.ts';
import { readControlData } from './control-data.ts';
import { transactionIn } from './discarded-wal.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** For all of it; found in a few segments at either end, unless hardly anything was committed. */
const LOOK_LIMIT: Millis = millis(20_000);
const SEGMENT_LIMIT_MS = 10_000;

export interface UndoneRange {
  /** The one that the server is on; the range may begin on one that it came through. */
  readonly timeline: Timeline;
  readonly from: Lsn;
  readonly to: Lsn;
}

export interface SeenUndone {
  /** There is a file for all of it. */
  readonly whole: boolean;
  /** From the first commit to the last one that are here, by the server's clock then; null: none was found. */
  readonly span: Millis | null;
}

interface Segment {
  readonly name: string;
  readonly start: Lsn;
}

/** @throws {Error} when pg_wal cannot be read */
export async function lookAtUndone(place: Place, range: UndoneRange): Promise<SeenUndone> {
  const { walSegmentBytes } = await readControlData(place);
  const wal = join(place.dataDir, 'pg_wal');
  const names = new Set(await withLimit(place.clock, FILE_LIMIT, 'reading pg_wal', readdir(wal)));
  const segments: Segment[] = [];
  let whole = true;
  for (let at = range.from; at < range.to; at = lsn((at / walSegmentBytes + 1n) * walSegmentBytes)) {
    const name = newestOf(names, range.timeline, at, walSegmentBytes);
    if (name === null) whole = false;
    else segments.push({ name, start: at });
  }
  const until = laterBy(place.clock.now(), LOOK_LIMIT);
  const find = async (from: readonly Segment[], which: 0 | -1): Promise<number | null> => {
    for (const segment of from) {
      if (place.clock.now() >= until) return null;
      const found = (await commitsIn(place, segment, range)).at(which);
      if (found !== undefined) return found;
    }
    return null;
  };
  const first = await find(segments, 0);
  const last = first === null ? null : await find(segments.toReversed(), -1);
  return { whole, span: first === null || last === null ? null : millis(Math.max(0, last - first)) };
}

/** The file that this server, on `tl`, would read: a promotion copies what came before it in its segment. */
function newestOf(names: ReadonlySet<string>, tl: Timeline, at: Lsn, segmentBytes: bigint): string | null {
  for (let id: number = tl; id > 0; id--) {
    const name = segmentName(timeline(id), at, segmentBytes);
    if (names.has(name)) return name;
  }
  return null;
}

/** When each was committed; the end of valid WAL, and a record that goes on in the next file, end it early. */
async function commitsIn(place: Place, { name, start }: Segment, { from, to }: UndoneRange): Promise<number[]> {
  const times: number[] = [];
  const bounds = [...(start === from ? ['-s', printLsn(from)] : []), '--rmgr=Transaction'];
  const { endedBy } = await runCommand(place, 'pg_waldump', ['-p', join(place.dataDir, 'pg_wal'), ...bounds, name], {
    limitMs: SEGMENT_LIMIT_MS,
    env: { TZ: 'UTC' },
    onLine: (line, output) => {
      const record = output === 'stdout' ? transactionIn(line) : null;
      const position = /\blsn: ([0-9A-F]+\/[0-9A-F]+)/.exec(line)?.[1];
      if (record?.kind !== 'commit' || record.at === null || position === undefined) return;
      const at = parseLsn(position);
      if (at >= from && at < to) times.push(Date.parse(record.at));
    },
  });
  if (endedBy === 'limit') throw new Error(`pg_waldump did not come to the end of ${name} in time`);
  return times;
}
