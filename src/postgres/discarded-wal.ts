/**
 * Keeps aside the WAL that only this server has, before a rewind or a copy throws it away: the segment files in a
 * directory beside the data directory, with a report of the transactions in them. Bounded in number and size, the oldest
 * go first. It never touches the data directory, and that it fails keeps nobody from coming back.
 */
import { copyFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn, printLsn, segmentName, type Timeline } from '../core/lsn.ts';
import { millis } from '../core/time.ts';
import type { DiscardedRange, DiscardedWal, Progress } from '../ports/postgres.ts';
import { lastLine, runCommand } from './command.ts';
import { readControlData } from './control-data.ts';
import { makePrivateDirectory, readText, renameDurably, writeDurably } from './durable-file.ts';
import { freeBytes } from './free-space.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** Reading the transactions of a gigabyte takes seconds. */
const WALDUMP_LIMIT_MS = 120_000;
/** One segment of 16 MB, on a disk that has much else to do; of larger ones accordingly. */
const COPY_LIMIT = millis(60_000);
/** Transactions listed by their number; there may be more. */
const MOST_XIDS = 1_000;

const OURS = /^\d{8}T\d{6}Z-timeline-\d+-from-[0-9A-F]+-[0-9A-F]+$/;

/** What pg_waldump says about transactions in a range. */
export interface Transactions {
  readonly commits: number;
  readonly aborts: number;
  /** ISO 8601; null: none was committed. */
  readonly firstCommit: string | null;
  readonly lastCommit: string | null;
  readonly xids: readonly number[];
}

export const keptDirectory = (place: Place): string =>
  place.config.postgresql.discardedWal.directory ?? `${place.dataDir}.discarded-wal`;

/** Never throws: what could not be kept or read stands in `trouble`. */
export async function keepDiscardedWal(
  place: Place,
  range: DiscardedRange,
  progress: Progress,
  signal: AbortSignal,
): Promise<DiscardedWal> {
  const found: { transactions: Transactions | null; trouble: string[] } = { transactions: null, trouble: [] };
  const result = (kept: string | null, again: boolean): DiscardedWal => ({
    ...range,
    kept,
    again,
    commits: found.transactions?.commits ?? null,
    firstCommit: found.transactions?.firstCommit ?? null,
    lastCommit: found.transactions?.lastCommit ?? null,
    trouble: found.trouble.length === 0 ? null : found.trouble.join('; '),
  });
  const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
  try {
    const before = await keptBefore(place, range);
    if (before !== null) return before;
    progress('reading which transactions are undone', null);
    found.transactions = await transactionsIn(place, range, signal);
  } catch (error) {
    found.trouble.push(`the transactions in it could not be read: ${reason(error)}`);
  }
  try {
    const { number, size } = place.config.postgresql.discardedWal;
    if (number === 0 || size === 0n) {
      found.trouble.push('it is not kept: the settings of discarded_wal allow none');
      return result(null, false);
    }
    progress('keeping the WAL that is undone', null);
    return result(await keep(place, range, found, signal), false);
  } catch (error) {
    found.trouble.push(`it could not be kept: ${reason(error)}`);
    return result(null, false);
  }
}

/** A rewind that failed is tried again; its crash recovery may have added to the end of the same WAL. */
async function keptBefore(place: Place, range: DiscardedRange): Promise<DiscardedWal | null> {
  for (const name of await keptNames(place)) {
    if (!name.endsWith(suffix(range))) continue;
    const kept = join(keptDirectory(place), name);
    const text = await readText(place, join(kept, 'report.json'));
    if (text === null) continue;
    const { transactions } = JSON.parse(text) as { readonly transactions?: Record<string, unknown> | null };
    const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
    return {
      ...range,
      kept,
      again: true,
      commits: typeof transactions?.['commits'] === 'number' ? transactions['commits'] : null,
      firstCommit: textOf(transactions?.['first_commit']),
      lastCommit: textOf(transactions?.['last_commit']),
      trouble: null,
    };
  }
  return null;
}

const suffix = ({ timeline, from }: DiscardedRange): string =>
  `-timeline-${timeline}-from-${printLsn(from).replace('/', '-')}`;

async function keptNames(place: Place): Promise<readonly string[]> {
  const names = readdir(keptDirectory(place)).catch(() => [] as string[]);
  const listed = await withLimit(place.clock, FILE_LIMIT, 'listing the WAL that is kept', names);
  return listed.filter((name) => OURS.test(name)).sort();
}

async function keep(
  place: Place,
  range: DiscardedRange,
  found: { readonly transactions: Transactions | null; readonly trouble: string[] },
  signal: AbortSignal,
): Promise<string> {
  const { clock, dataDir } = place;
  const { walSegmentBytes, systemId } = await readControlData(place);
  const wal = join(dataDir, 'pg_wal');
  const present = await withLimit(clock, FILE_LIMIT, 'reading pg_wal', readdir(wal));
  const wanted = present.filter((name) => isOfRange(name, range, walSegmentBytes)).sort();
  const { size, number } = place.config.postgresql.discardedWal;
  const most = Number(size / walSegmentBytes);
  const segments = wanted.slice(0, most);
  if (segments.length < wanted.length)
    found.trouble.push(`only the first ${segments.length} of ${wanted.length} segments are kept: discarded_wal_size`);
  const first = segmentName(range.timeline, range.from, walSegmentBytes);
  if (!wanted.some((name) => name.slice(8) === first.slice(8)))
    found.trouble.push(`its beginning was not here any more: the first segment is ${segments[0] ?? 'missing'}`);
  const bytes = BigInt(segments.length) * walSegmentBytes;
  const root = keptDirectory(place);
  await makePrivateDirectory(place, root);
  await makeRoom(place, size - bytes, number - 1);
  const free = await withLimit(clock, FILE_LIMIT, 'looking for free space', freeBytes(root));
  // Coming back needs room too.
  if (free !== null && bytes > free / 2n)
    throw new Error(`${bytes} bytes are more than half of what is free in ${root}`);

  const time = new Date(clock.wall()).toISOString().replace(/[-:]|\.\d+/g, '');
  const name = `${time}${suffix(range)}`;
  const unfinished = join(root, `${name}.unfinished`);
  await makePrivateDirectory(place, unfinished);
  const histories = present.filter((one) => /^[0-9A-F]{8}\.history$/.test(one));
  for (const file of [...segments, ...histories]) {
    signal.throwIfAborted();
    await withLimit(clock, COPY_LIMIT, `copying ${file}`, copyFile(join(wal, file), join(unfinished, file)));
  }
  const kept = join(root, name);
  const report = {
    version: 1,
    node: place.config.node.name,
    leader: range.leader,
    system_identifier: systemId,
    timeline: range.timeline,
    from: printLsn(range.from),
    to: printLsn(range.to),
    bytes: Number(range.to - range.from),
    kept_at: new Date(clock.wall()).toISOString(),
    segments,
    complete: found.trouble.length === 0,
    trouble: found.trouble,
    transactions: asJson(found.transactions),
    look: `pg_waldump -p ${kept} -t ${range.timeline} -s ${printLsn(range.from)} -e ${printLsn(range.to)}`,
  };
  await writeDurably(place, join(unfinished, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await renameDurably(place, unfinished, kept);
  return kept;
}

const asJson = (found: Transactions | null): Readonly<Record<string, unknown>> | null =>
  found === null
    ? null
    : {
        commits: found.commits,
        aborts: found.aborts,
        first_commit: found.firstCommit,
        last_commit: found.lastCommit,
        xids: found.xids,
      };

/** Of whichever of our timelines: where histories parted below our own one, its predecessor's tail goes too. */
function isOfRange(name: string, { from, to, timeline }: DiscardedRange, segmentBytes: bigint): boolean {
  if (!/^[0-9A-F]{24}$/.test(name) || Number.parseInt(name.slice(0, 8), 16) > timeline) return false;
  const perId = 0x100000000n / segmentBytes;
  const number = BigInt(`0x${name.slice(8, 16)}`) * perId + BigInt(`0x${name.slice(16)}`);
  return number >= from / segmentBytes && number <= (to > from ? to - 1n : to) / segmentBytes;
}

/** The oldest go, until so many are left and they take no more than `bytes`. */
async function makeRoom(place: Place, bytes: bigint, number: number): Promise<void> {
  const root = keptDirectory(place);
  const listed = await withLimit(place.clock, FILE_LIMIT, 'listing the WAL that is kept', readdir(root));
  // What a crash has left behind.
  const unfinished = listed.filter(
    (name) => name.endsWith('.unfinished') && OURS.test(name.replace(/\.unfinished$/, '')),
  );
  const names = [...(await keptNames(place))];
  const sizes = new Map<string, bigint>();
  for (const name of names) sizes.set(name, await sizeOf(place, join(root, name)));
  const gone = [...unfinished];
  const total = (): bigint => names.reduce((sum, name) => sum + (sizes.get(name) ?? 0n), 0n);
  while (names.length > Math.max(0, number) || (names.length > 0 && total() > bytes)) gone.push(names.shift() ?? '');
  for (const name of gone) {
    const removing = rm(join(root, name), { recursive: true, force: true });
    await withLimit(place.clock, COPY_LIMIT, `removing ${name}`, removing);
  }
}

async function sizeOf(place: Place, directory: string): Promise<bigint> {
  const measuring = async (): Promise<bigint> => {
    let sum = 0n;
    for (const name of await readdir(directory)) sum += (await stat(join(directory, name), { bigint: true })).size;
    return sum;
  };
  return withLimit(place.clock, FILE_LIMIT, `measuring ${directory}`, measuring());
}

async function transactionsIn(place: Place, range: DiscardedRange, signal: AbortSignal): Promise<Transactions> {
  const { walSegmentBytes } = await readControlData(place);
  const wal = join(place.dataDir, 'pg_wal');
  const names = new Set(await withLimit(place.clock, FILE_LIMIT, 'reading pg_wal', readdir(wal)));
  const start = firstPresent(names, range.timeline, range.from, range.to, walSegmentBytes);
  if (start === null) throw new Error('its segments are not here any more');
  let commits = 0;
  let aborts = 0;
  let firstCommit: string | null = null;
  let lastCommit: string | null = null;
  const xids: number[] = [];
  const args = ['-p', wal, '-t', String(range.timeline), '-s', printLsn(start), '-e', printLsn(range.to)];
  const result = await runCommand(place, 'pg_waldump', [...args, '--rmgr=Transaction'], {
    limitMs: WALDUMP_LIMIT_MS,
    signal,
    env: { TZ: 'UTC' },
    onLine: (line, from) => {
      const record = from === 'stdout' ? transactionIn(line) : null;
      if (record === null) return;
      if (record.kind === 'abort') aborts += 1;
      else {
        commits += 1;
        firstCommit ??= record.at;
        lastCommit = record.at ?? lastCommit;
        if (xids.length < MOST_XIDS) xids.push(record.xid);
      }
    },
  });
  // At the very end it may complain that there is no further record: everything before was told.
  if (result.code !== 0 && result.endedBy !== 'itself') throw new Error(lastLine(result));
  if (result.code !== 0 && !/error in WAL record|could not find a valid record/.test(result.stderr))
    throw new Error(lastLine(result));
  return { commits, aborts, firstCommit, lastCommit, xids };
}

/** The range, or what of it begins with the first segment that is still here. */
function firstPresent(
  names: ReadonlySet<string>,
  timeline: Timeline,
  from: Lsn,
  to: Lsn,
  segmentBytes: bigint,
): Lsn | null {
  for (let at = from; at < to; at = lsn((at / segmentBytes + 1n) * segmentBytes)) {
    if (names.has(segmentName(timeline, at, segmentBytes))) return at;
  }
  return null;
}

/** `rmgr: Transaction ... tx: 745, lsn: ..., desc: COMMIT 2026-11-20 10:44:00.123456 UTC; ...` */
export function transactionIn(
  line: string,
): { readonly kind: 'commit' | 'abort'; readonly xid: number; readonly at: string | null } | null {
  const match = /^rmgr: Transaction\b.*?\btx:\s*(\d+),.*?\bdesc: (COMMIT|ABORT)(?:_PREPARED)?\b(.*)/.exec(line);
  if (match === null) return null;
  const [, xid, what, rest = ''] = match;
  const at = /\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)?/.exec(rest)?.[0];
  const ms = at === undefined ? Number.NaN : Date.parse(`${at.replace(' ', 'T')}Z`);
  return {
    kind: what === 'ABORT' ? 'abort' : 'commit',
    xid: Number(xid),
    at: Number.isNaN(ms) ? null : new Date(ms).toISOString(),
  };
}
