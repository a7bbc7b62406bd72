/**
 * The tail of a dead primary's WAL: where it ends, its bytes, and putting them into the pg_wal of a withdrawn standby,
 * whose startup process picks them up by itself (postgres-notes 1, method b1). Positions are judged by Postgres' own
 * tools and by replay; only the arithmetic of one record is done here.
 */
import { type FileHandle, open, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn, parseLsn, printLsn, segmentName, type Timeline } from '../core/lsn.ts';
import { laterBy, type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { WalChunk } from '../ports/postgres.ts';
import { CommandFailure, lastLine, runCommand } from './command.ts';
import { readControlData } from './control-data.ts';
import { familyOf } from './family.ts';
import type { Place } from './place.ts';
import { type RunningServer, reload } from './recovery.ts';
import { withLimit } from './time-limit.ts';

const WALDUMP_LIMIT_MS = 60_000;
const DISK_LIMIT: Millis = millis(30_000);
const ASK_LIMIT: Millis = millis(1_000);
const POLL_EVERY: Millis = millis(5);
const WAKE_EVERY: Millis = millis(20);
/** Of one request: the bytes are held in memory on both sides. */
const LARGEST_PIECE = 256n << 20n;

const PAGE = 8192n;
const SHORT_PAGE_HEADER = 24n;
const LONG_PAGE_HEADER = 40n;
const RECORD_HEADER_BYTES = 24;

/** What of a record's header tells where the record ends (src/include/access/xlogrecord.h). */
export interface RecordHead {
  readonly length: bigint;
  /** Everything after it up to the end of its segment is void. */
  readonly switchesSegment: boolean;
}

export function recordHead(bytes: Uint8Array): RecordHead {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const info = bytes[16] ?? 0;
  const resourceManager = bytes[17] ?? 0;
  return { length: BigInt(view.getUint32(0, true)), switchesSegment: resourceManager === 0 && (info & 0xf0) === 0x40 };
}

/** Where the record that begins at `start` ends, rounded up as Postgres does: where the next one begins. */
export function recordEnd(start: Lsn, head: RecordHead, segmentBytes: bigint): Lsn {
  if (head.switchesSegment) return lsn((start / segmentBytes + 1n) * segmentBytes);
  let at: bigint = start;
  let left = (head.length + 7n) & ~7n;
  for (;;) {
    const room = PAGE - (at % PAGE);
    if (left <= room) return lsn(at + left);
    left -= room;
    at += room;
    at += at % segmentBytes === 0n ? LONG_PAGE_HEADER : SHORT_PAGE_HEADER;
  }
}

/** What pg_waldump's last line says about the end of the WAL. */
export type WaldumpEnd =
  | { readonly kind: 'last-record'; readonly start: Lsn }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'no-file' }
  | { readonly kind: 'not-understood' };

export function waldumpEnd(stderr: string): WaldumpEnd {
  const record = /error in WAL record at ([0-9A-F]+\/[0-9A-F]+):/.exec(stderr)?.[1];
  if (record !== undefined) return { kind: 'last-record', start: parseLsn(record) };
  // The first segment was made and nothing was written into it yet.
  if (/could not find a valid record after|header specifies 0 bytes/.test(stderr)) return { kind: 'nothing' };
  if (/could not (find|open|locate)( WAL)? file/.test(stderr)) return { kind: 'no-file' };
  return { kind: 'not-understood' };
}

/**
 * End of the valid WAL of this stopped server.
 *
 * @param start - a record boundary, such as another server's replay position
 * @throws {PghaError} PGHA_RESCUE_FAILED while any process of Postgres lives, or when the WAL at `from` is not here
 */
export async function endOfWal(place: Place, tl: Timeline, start: Lsn): Promise<Lsn> {
  mustBeStopped(place);
  const { walSegmentBytes } = await readControlData(place);
  const directory = join(place.dataDir, 'pg_wal');
  // pg_waldump asks for a segment that does not exist for five seconds: it is told where the files end.
  const row = await rowOfSegments(place, tl, start, walSegmentBytes);
  if (row === null) {
    // The next segment is made when the first record goes into it.
    if (start % walSegmentBytes === 0n) return start;
    throw rescueFailed(`the segment that holds ${printLsn(start)} is not here any more`, null);
  }
  const { from, end: bound } = row;
  // Named segments, because otherwise it takes the segment size from whichever file it reads first, and one that was
  // only just made is all zeros: "header specifies 0 bytes".
  const segments = [
    segmentName(tl, from, walSegmentBytes),
    segmentName(tl, lsn(bound - walSegmentBytes), walSegmentBytes),
  ];
  const args = ['--stats', '-p', directory, '-s', printLsn(from), ...segments];
  const result = await runCommand(place, 'pg_waldump', args, { limitMs: WALDUMP_LIMIT_MS, env: { LC_ALL: 'C' } });
  // It read to the end of the files and tells no position then. The last record ends there, or the next one begins in
  // them and has no end.
  if (result.code === 0 && result.stderr.trim() === '') {
    const listed = await runCommand(place, 'pg_waldump', args.slice(1), {
      limitMs: WALDUMP_LIMIT_MS,
      env: { LC_ALL: 'C' },
    });
    const last = lastRecordIn(listed.stdout);
    return last === null ? from : endOfRecordAt(place, tl, last, walSegmentBytes);
  }
  const end = waldumpEnd(result.stderr);
  switch (end.kind) {
    case 'nothing':
      return from;
    case 'no-file':
      throw rescueFailed(`a segment from ${printLsn(from)} on is not here any more`, null);
    case 'last-record':
      return endOfRecordAt(place, tl, end.start, walSegmentBytes);
    default: {
      const cause = new CommandFailure('pg_waldump', result);
      throw rescueFailed(`pg_waldump did not tell where the WAL ends: ${lastLine(result)}`, cause);
    }
  }
}

/**
 * The unbroken row of segment files of this timeline that begins with the one of `start`. A promotion copies only the
 * segment it happened in to the new timeline: when the last checkpoint is older, the row begins with that one.
 *
 * @returns where to begin reading, and where the row ends; null: there is no such row
 */
async function rowOfSegments(
  place: Place,
  tl: Timeline,
  start: Lsn,
  segmentBytes: bigint,
): Promise<{ readonly from: Lsn; readonly end: Lsn } | null> {
  const listing = withLimit(place.clock, DISK_LIMIT, 'reading pg_wal', readdir(join(place.dataDir, 'pg_wal')));
  const names = new Set(await listing);
  const wanted = segmentName(tl, start, segmentBytes);
  const prefix = wanted.slice(0, 8);
  const first = [...names]
    .filter((name) => /^[0-9A-F]{24}$/.test(name) && name.startsWith(prefix) && name >= wanted)
    .sort()[0];
  if (first === undefined) return null;
  const perId = 0x100000000n / segmentBytes;
  const number = BigInt(`0x${first.slice(8, 16)}`) * perId + BigInt(`0x${first.slice(16)}`);
  let end = lsn(number * segmentBytes);
  const from = first === wanted ? start : end;
  while (names.has(segmentName(tl, end, segmentBytes))) end = lsn(end + segmentBytes);
  return { from, end };
}

/** Of pg_waldump's lines, `rmgr: ... lsn: 0/1B2F2E8, prev ...`, the last. */
export function lastRecordIn(stdout: string): Lsn | null {
  const position = [...stdout.matchAll(/^rmgr: .*?\blsn: ([0-9A-F]+\/[0-9A-F]+),/gm)].at(-1)?.[1];
  return position === undefined ? null : parseLsn(position);
}

async function endOfRecordAt(place: Place, tl: Timeline, start: Lsn, segmentBytes: bigint): Promise<Lsn> {
  return recordEnd(start, await readRecordHead(place, tl, start, segmentBytes), segmentBytes);
}

async function readRecordHead(place: Place, tl: Timeline, at: Lsn, segmentBytes: bigint): Promise<RecordHead> {
  const bytes = await readSegment(place, tl, at, RECORD_HEADER_BYTES + Number(SHORT_PAGE_HEADER), segmentBytes);
  // Where the header itself crosses a page, that page's header stands in its middle.
  const room = Number(PAGE - (at % PAGE));
  if (room >= RECORD_HEADER_BYTES) return recordHead(bytes);
  return recordHead(Buffer.concat([bytes.subarray(0, room), bytes.subarray(room + Number(SHORT_PAGE_HEADER))]));
}

/** Raw bytes, from the beginning of the page on: writing a page's beginning again is harmless. */
export async function readWal(place: Place, tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk> {
  mustBeStopped(place);
  const { walSegmentBytes } = await readControlData(place);
  const start = lsn(from - (from % PAGE));
  if (to - start > LARGEST_PIECE) throw rescueFailed(`${to - start} bytes were asked for at once`, null);
  const parts: Uint8Array[] = [];
  for (let at = start; at < to; ) {
    const segmentEnd = lsn((at / walSegmentBytes + 1n) * walSegmentBytes);
    const until = segmentEnd < to ? segmentEnd : to;
    parts.push(await readSegment(place, tl, at, Number(until - at), walSegmentBytes));
    at = until;
  }
  return { start, bytes: Buffer.concat(parts) };
}

async function readSegment(place: Place, tl: Timeline, at: Lsn, length: number, segmentBytes: bigint): Promise<Buffer> {
  const name = segmentName(tl, at, segmentBytes);
  const reading = async (): Promise<Buffer> => {
    const handle = await open(join(place.dataDir, 'pg_wal', name), 'r');
    try {
      const buffer = Buffer.alloc(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await handle.read(buffer, done, length - done, Number(at % segmentBytes) + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return buffer.subarray(0, done);
    } finally {
      await handle.close();
    }
  };
  try {
    return await withLimit(place.clock, DISK_LIMIT, `reading ${name}`, reading());
  } catch (cause) {
    throw rescueFailed(`the segment ${name} could not be read`, cause);
  }
}

/**
 * Puts the bytes into pg_wal of this withdrawn standby and waits until it has replayed them up to `end`.
 *
 * @throws {PghaError} PGHA_RESCUE_FAILED while a receiver lives (two writers on one segment), or when replay does not
 *   arrive before `signal` ends
 */
export async function deliverWal(
  server: RunningServer,
  tl: Timeline,
  chunks: AsyncIterable<WalChunk> | Iterable<WalChunk>,
  end: Lsn,
  signal: AbortSignal,
): Promise<void> {
  const { place } = server;
  const { clock } = place;
  try {
    const before = await seeReplay(server);
    if (!before.inRecovery) throw new Error('this server is not a standby');
    if (before.receiver) throw new Error('its WAL receiver is still there');
    const { walSegmentBytes } = await readControlData(place);
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      await withLimit(clock, DISK_LIMIT, 'writing WAL', writeChunk(place, tl, chunk, walSegmentBytes));
    }
    if (before.paused) await server.ask('SELECT pg_catalog.pg_wal_replay_resume()', ASK_LIMIT);
    // With a delay it would wait in vain; a promotion replays everything that is here, without it.
    if (before.delayed) return;
    let wakeAt = clock.now();
    for (;;) {
      if (clock.now() >= wakeAt) {
        reload(place);
        wakeAt = laterBy(clock.now(), WAKE_EVERY);
      }
      const { replayed } = await seeReplay(server);
      if (replayed >= end) return;
      signal.throwIfAborted();
      await clock.sleep(POLL_EVERY);
    }
  } catch (cause) {
    throw rescueFailed(
      `the WAL up to ${printLsn(end)} was not brought in: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    );
  }
}

interface Replay {
  readonly inRecovery: boolean;
  readonly receiver: boolean;
  readonly paused: boolean;
  readonly delayed: boolean;
  readonly replayed: Lsn;
}

async function seeReplay(server: RunningServer): Promise<Replay> {
  const [row] = await server.ask(
    `SELECT r.in_recovery,
            EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walreceiver') AS receiver,
            CASE WHEN r.in_recovery THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END AS paused,
            pg_catalog.current_setting('recovery_min_apply_delay') <> '0' AS delayed,
            pg_catalog.pg_last_wal_replay_lsn()::text AS replayed
       FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) r`,
    ASK_LIMIT,
  );
  return {
    inRecovery: row?.['in_recovery'] === true,
    receiver: row?.['receiver'] === true,
    paused: row?.['paused'] === true,
    delayed: row?.['delayed'] === true,
    replayed: typeof row?.['replayed'] === 'string' ? parseLsn(row['replayed']) : lsn(0n),
  };
}

async function writeChunk(place: Place, tl: Timeline, chunk: WalChunk, segmentBytes: bigint): Promise<void> {
  const end = chunk.start + BigInt(chunk.bytes.byteLength);
  for (let at: bigint = chunk.start; at < end; ) {
    const segmentEnd = (at / segmentBytes + 1n) * segmentBytes;
    const until = segmentEnd < end ? segmentEnd : end;
    const part = chunk.bytes.subarray(Number(at - chunk.start), Number(until - chunk.start));
    await writePart(join(place.dataDir, 'pg_wal'), segmentName(tl, lsn(at), segmentBytes), {
      bytes: part,
      offset: Number(at % segmentBytes),
      size: Number(segmentBytes),
    });
    at = until;
  }
}

/** A new segment appears under its name only when it is whole: the startup process may look at any moment. */
async function writePart(
  directory: string,
  name: string,
  part: { readonly bytes: Uint8Array; readonly offset: number; readonly size: number },
): Promise<void> {
  const path = join(directory, name);
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (exists) {
    const handle = await open(path, 'r+');
    await writeAndSync(handle, part.bytes, part.offset);
    return;
  }
  const temporary = `${path}.pgha-rescue`;
  const handle = await open(temporary, 'w', 0o600);
  await handle.truncate(part.size);
  await writeAndSync(handle, part.bytes, part.offset);
  await rename(temporary, path);
  const parent = await open(directory, 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

async function writeAndSync(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, offset + done);
      done += bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** While a backend lives it may commit, and the end that was found is none. */
function mustBeStopped(place: Place): void {
  const alive = familyOf(place).length;
  if (alive > 0) throw rescueFailed(`${alive} processes of Postgres still live, so its WAL has no end yet`, null);
}

function rescueFailed(why: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_RESCUE_FAILED',
    {
      happened: `The missing WAL could not be rescued: ${why}.`,
      untouched: 'The directory of the old primary was not changed.',
      todo: 'Nothing to do: the election goes on, and what may be lost is reported with its range.',
    },
    { cause },
  );
}
