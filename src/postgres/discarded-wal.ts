/**
 * Keeps aside the WAL that only this server has, before a rewind or a copy throws it away: the segment files in a
 * directory beside the data directory, with a report of the transactions in them. Bounded in number and size: once a new
 * set is complete the oldest go. It never touches the data directory, and that it fails keeps nobody from coming back.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Lsn, lsn, parseLsn, printLsn, segmentName, type Timeline } from '../core/lsn.ts';
import { type Millis, millis } from '../core/time.ts';
import type { DiscardedRange, DiscardedWal, Progress } from '../ports/postgres.ts';
import { lastLine, runCommand } from './command.ts';
import { type ControlData, readControlData } from './control-data.ts';
import {
  copyDurably,
  makePrivateDirectory,
  readText,
  renameDurably,
  syncEntries,
  writeDurably,
} from './durable-file.ts';
import { freeBytes } from './free-space.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** Reading the transactions of a gigabyte takes seconds. */
const WALDUMP_LIMIT_MS = 120_000;
/** One segment of 16 MB, on a disk that has much else to do; of larger ones accordingly. */
const COPY_LIMIT = millis(60_000);
const copyLimit = (segmentBytes: bigint): Millis => millis(Math.max(1, Number(segmentBytes) / 16_777_216) * COPY_LIMIT);
/** Transactions listed by their number; there may be more. */
const MOST_XIDS = 1_000;

const SEGMENT = /^[0-9A-F]{24}$/;
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

/** What is known of the transactions, and what could not be kept or read. */
interface Found {
  transactions: Transactions | null;
  readonly trouble: string[];
}

/** Segments of a range, and what is wrong with them. */
interface Plan {
  readonly segments: readonly string[];
  readonly trouble: readonly string[];
  /** The file from which each of them is copied. */
  readonly from: ReadonlyMap<string, string>;
  readonly histories: readonly string[];
  readonly segmentBytes: bigint;
  readonly systemId: string;
}

/** A set that an earlier try has kept of the same range, as its report tells. */
interface KeptSet {
  readonly name: string;
  readonly path: string;
  readonly to: Lsn;
  /** Those that are there as a whole. */
  readonly segments: readonly string[];
  /** All that it names are there as a whole. */
  readonly intact: boolean;
  readonly trouble: readonly string[];
  readonly transactions: Readonly<Record<string, unknown>> | null;
}

/** Never throws: what could not be kept or read stands in `trouble`. */
export async function keepDiscardedWal(
  place: Place,
  range: DiscardedRange,
  progress: Progress,
  signal: AbortSignal,
): Promise<DiscardedWal> {
  const found: Found = { transactions: null, trouble: [] };
  const result = (kept: string | null): DiscardedWal => ({
    ...range,
    kept,
    again: false,
    commits: found.transactions?.commits ?? null,
    firstCommit: found.transactions?.firstCommit ?? null,
    lastCommit: found.transactions?.lastCommit ?? null,
    trouble: found.trouble.length === 0 ? null : found.trouble.join('; '),
  });
  const before = await keptBefore(place, range).catch((): KeptSet[] => []);
  const whole = before.find((set) => set.trouble.length === 0 && covers(set, range));
  if (whole !== undefined) return asKept(whole, range);
  try {
    progress('reading which transactions are undone', null);
    found.transactions = await transactionsIn(place, range, join(place.dataDir, 'pg_wal'), signal);
  } catch (error) {
    found.trouble.push(`${UNREAD}: ${reason(error)}`);
  }
  try {
    const { number, size } = place.config.postgresql.discardedWal;
    if (number === 0 || size === 0n) {
      found.trouble.push('it is not kept: the settings of discarded_wal allow none');
      return result(null);
    }
    const plan = await planOf(place, range, before);
    const same = before.find((set) => covers(set, range) && isAsGood(set, plan, found));
    if (same !== undefined) return asKept(same, range);
    progress('keeping the WAL that is undone', null);
    return result(await keep(place, range, plan, before, found, signal));
  } catch (error) {
    found.trouble.push(`it could not be kept: ${reason(error)}`);
    return result(null);
  }
}

const UNREAD = 'the transactions in it could not be read';

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * A rewind that failed is tried again; its crash recovery may have added to the end of the same WAL, and recycled its
 * beginning. What is no set of ours, or has no report that can be read, is none.
 */
async function keptBefore(place: Place, range: DiscardedRange): Promise<KeptSet[]> {
  const sets: KeptSet[] = [];
  const names = (await keptNames(place)).filter((name) => name.endsWith(suffix(range)));
  if (names.length === 0) return sets;
  const control = await readControlData(place);
  for (const name of names) {
    const set = await readSet(place, name, control).catch(() => null);
    if (set !== null) sets.push(set);
  }
  return sets;
}

/** @throws when its report is not one of ours about this cluster */
async function readSet(place: Place, name: string, { systemId, walSegmentBytes }: ControlData): Promise<KeptSet> {
  const path = join(keptDirectory(place), name);
  const report = JSON.parse((await readText(place, join(path, 'report.json'))) ?? '') as Record<string, unknown>;
  const { segments, trouble, transactions } = report;
  if (report['system_identifier'] !== systemId) throw new TypeError(`${name} is of another cluster`);
  if (!isTexts(segments) || !isTexts(trouble) || !segments.every((segment) => SEGMENT.test(segment)))
    throw new TypeError(`${name} has a report that is not ours`);
  const there: string[] = [];
  for (const segment of segments) {
    const measuring = stat(join(path, segment), { bigint: true }).then(({ size }) => size);
    const size = withLimit(place.clock, FILE_LIMIT, `measuring ${segment}`, measuring);
    if ((await size.catch(() => null)) === walSegmentBytes) there.push(segment);
  }
  return {
    name,
    path,
    to: parseLsn(String(report['to'])),
    segments: there,
    intact: there.length === segments.length,
    trouble: report['complete'] === true || trouble.length > 0 ? trouble : ['it is not complete'],
    transactions:
      typeof transactions === 'object' && transactions !== null ? (transactions as Record<string, unknown>) : null,
  };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === 'string');

const covers = (set: KeptSet, range: DiscardedRange): boolean => set.intact && set.to >= range.to;

/** Keeping anew would bring nothing that it lacks: what is missing in it is missing for good. */
const isAsGood = (set: KeptSet, plan: Plan, found: Found): boolean =>
  plan.segments.every((segment) => set.segments.includes(segment)) &&
  set.trouble.every((one) => plan.trouble.includes(one) || found.trouble.includes(one));

function asKept(set: KeptSet, range: DiscardedRange): DiscardedWal {
  const { commits, first_commit: first, last_commit: last } = set.transactions ?? {};
  return {
    ...range,
    kept: set.path,
    again: true,
    commits: typeof commits === 'number' ? commits : null,
    firstCommit: typeof first === 'string' ? first : null,
    lastCommit: typeof last === 'string' ? last : null,
    trouble: set.trouble.length === 0 ? null : set.trouble.join('; '),
  };
}

const suffix = ({ timeline, from }: DiscardedRange): string =>
  `-timeline-${timeline}-from-${printLsn(from).replace('/', '-')}`;

async function keptNames(place: Place): Promise<readonly string[]> {
  const names = readdir(keptDirectory(place)).catch(() => [] as string[]);
  const listed = await withLimit(place.clock, FILE_LIMIT, 'listing the WAL that is kept', names);
  return listed.filter((name) => OURS.test(name)).sort();
}

/** What of the range is here: in pg_wal, or where recovery has recycled it since, in what an earlier try has kept. */
async function planOf(place: Place, range: DiscardedRange, before: readonly KeptSet[]): Promise<Plan> {
  const { walSegmentBytes: segmentBytes, systemId } = await readControlData(place);
  const wal = join(place.dataDir, 'pg_wal');
  const present = await withLimit(place.clock, FILE_LIMIT, 'reading pg_wal', readdir(wal));
  const from = new Map<string, string>();
  for (const set of before) for (const segment of set.segments) from.set(segment, join(set.path, segment));
  for (const name of present) if (isOfRange(name, range, segmentBytes)) from.set(name, join(wal, name));
  const wanted = [...from.keys()].filter((name) => isOfRange(name, range, segmentBytes)).sort();
  const segments = wanted.slice(0, Number(place.config.postgresql.discardedWal.size / segmentBytes));
  const trouble: string[] = [];
  if (segments.length < wanted.length)
    trouble.push(`only the first ${segments.length} of ${wanted.length} segments are kept: discarded_wal_size`);
  const numbers = new Set(wanted.map((name) => name.slice(8)));
  const needed = segmentsOf(range, segmentBytes);
  const missing = needed.filter((name) => !numbers.has(name.slice(8)));
  if (missing[0] !== undefined && missing[0] === needed[0])
    trouble.push(`its beginning was not here any more: the first segment is ${segments[0] ?? 'missing'}`);
  const further = missing.filter((name) => name !== needed[0]);
  if (further.length > 0)
    trouble.push(
      `${further.length} of its ${needed.length} segments were not here, the first of them is ${further[0]}`,
    );
  const histories = present.filter((one) => /^[0-9A-F]{8}\.history$/.test(one));
  return { segments, trouble, from, histories, segmentBytes, systemId };
}

async function keep(
  place: Place,
  range: DiscardedRange,
  plan: Plan,
  before: readonly KeptSet[],
  found: Found,
  signal: AbortSignal,
): Promise<string> {
  const { clock, dataDir } = place;
  const { segments, segmentBytes } = plan;
  found.trouble.push(...plan.trouble);
  const bytes = BigInt(segments.length) * segmentBytes;
  const root = keptDirectory(place);
  const wal = join(dataDir, 'pg_wal');
  if (await makePrivateDirectory(place, root)) await syncEntries(place, dirname(root));
  await removeUnfinished(place);
  const free = await withLimit(clock, FILE_LIMIT, 'looking for free space', freeBytes(root));
  // Coming back needs room too. What is kept there already may be all that is left of somebody's commits.
  if (free !== null && bytes > free / 2n)
    throw new Error(`${bytes} bytes are more than half of what is free in ${root}, and what is kept there stays`);

  const name = await freeName(place, range);
  const unfinished = join(root, `${name}.unfinished`);
  await makePrivateDirectory(place, unfinished);
  for (const file of [...segments, ...plan.histories]) {
    signal.throwIfAborted();
    await copyDurably(place, plan.from.get(file) ?? join(wal, file), join(unfinished, file), copyLimit(segmentBytes));
  }
  if (segments.some((segment) => plan.from.get(segment) !== join(wal, segment)))
    await readAgain(place, range, unfinished, found, signal);
  const kept = join(root, name);
  const report = {
    version: 1,
    node: place.config.node.name,
    leader: range.leader,
    system_identifier: plan.systemId,
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
  // Last, because it also syncs the directory with the names of all that was copied before.
  await writeDurably(place, join(unfinished, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await renameDurably(place, unfinished, kept);
  try {
    for (const set of before)
      if (set.segments.every((segment) => segments.includes(segment))) await removeSet(place, set.name);
    await trim(place, name, bytes);
  } catch (error) {
    found.trouble.push(`what was kept before could not be removed: ${reason(error)}`);
  }
  return kept;
}

/** Where pg_wal has not got all of it any more. */
async function readAgain(
  place: Place,
  range: DiscardedRange,
  directory: string,
  found: Found,
  signal: AbortSignal,
): Promise<void> {
  try {
    found.transactions = await transactionsIn(place, range, directory, signal);
    const unread = found.trouble.findIndex((one) => one.startsWith(UNREAD));
    if (unread >= 0) found.trouble.splice(unread, 1);
  } catch (error) {
    place.log.write('debug', 'operation.progress', `${UNREAD} from what was kept before`, { error });
  }
}

/** Two tries within a second, or a clock that was set back. */
async function freeName(place: Place, range: DiscardedRange): Promise<string> {
  const taken = new Set(await keptNames(place));
  for (let at = place.clock.wall() as number; ; at += 1_000) {
    const name = `${new Date(at).toISOString().replace(/[-:]|\.\d+/g, '')}${suffix(range)}`;
    if (!taken.has(name)) return name;
  }
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
  if (!SEGMENT.test(name) || Number.parseInt(name.slice(0, 8), 16) > timeline) return false;
  const perId = 0x100000000n / segmentBytes;
  const number = BigInt(`0x${name.slice(8, 16)}`) * perId + BigInt(`0x${name.slice(16)}`);
  return number >= from / segmentBytes && number <= (to > from ? to - 1n : to) / segmentBytes;
}

/** The names of the segments of the range on its own timeline, in order. */
function segmentsOf({ from, to, timeline }: DiscardedRange, segmentBytes: bigint): readonly string[] {
  const names = [segmentName(timeline, from, segmentBytes)];
  for (let at = (from / segmentBytes + 1n) * segmentBytes; at < to; at += segmentBytes)
    names.push(segmentName(timeline, lsn(at), segmentBytes));
  return names;
}

/** What a crash has left behind: pg_wal still has all of it. */
async function removeUnfinished(place: Place): Promise<void> {
  const listed = readdir(keptDirectory(place));
  for (const name of await withLimit(place.clock, FILE_LIMIT, 'listing the WAL that is kept', listed))
    if (name.endsWith('.unfinished') && OURS.test(name.replace(/\.unfinished$/, ''))) await removeSet(place, name);
}

/** The oldest go, until number and size are within their bounds again; never the one that was kept just now. */
async function trim(place: Place, newest: string, newestBytes: bigint): Promise<void> {
  const { number, size } = place.config.postgresql.discardedWal;
  const older: { readonly name: string; readonly bytes: bigint }[] = [];
  for (const name of await keptNames(place))
    if (name !== newest) older.push({ name, bytes: await sizeOf(place, join(keptDirectory(place), name)) });
  const total = (): bigint => older.reduce((sum, { bytes }) => sum + bytes, newestBytes);
  for (let oldest = older[0]; oldest !== undefined; oldest = older[0]) {
    if (older.length < number && total() <= size) return;
    await removeSet(place, oldest.name);
    older.shift();
  }
}

async function removeSet(place: Place, name: string): Promise<void> {
  const removing = rm(join(keptDirectory(place), name), { recursive: true, force: true });
  await withLimit(place.clock, COPY_LIMIT, `removing ${name}`, removing);
}

async function sizeOf(place: Place, directory: string): Promise<bigint> {
  const measuring = async (): Promise<bigint> => {
    let sum = 0n;
    for (const name of await readdir(directory)) sum += (await stat(join(directory, name), { bigint: true })).size;
    return sum;
  };
  return withLimit(place.clock, FILE_LIMIT, `measuring ${directory}`, measuring());
}

/** @param wal - the directory that holds the segments */
async function transactionsIn(
  place: Place,
  range: DiscardedRange,
  wal: string,
  signal: AbortSignal,
): Promise<Transactions> {
  const { walSegmentBytes } = await readControlData(place);
  const names = new Set(await withLimit(place.clock, FILE_LIMIT, `reading ${wal}`, readdir(wal)));
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
