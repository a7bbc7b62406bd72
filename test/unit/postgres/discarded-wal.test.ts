/**
 * WAL that is kept aside, in directories of files alone: what counts as kept, what takes its place, and what goes. And
 * what is read from the lines of pg_waldump about transactions.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { type Lsn, lsn, printLsn, timeline } from '../../../src/core/lsn.ts';
import type { DiscardedWal } from '../../../src/ports/postgres.ts';
import { keepDiscardedWal, transactionIn } from '../../../src/postgres/discarded-wal.ts';
import { aConfig, aControlFile, aPlace } from './place-builder.ts';

const SEGMENT = 1 << 20;
const FROM = lsn(BigInt(3 * SEGMENT + 40));
/** In the third segment. */
const TO = lsn(BigInt(5 * SEGMENT + 80));
const [FIRST, SECOND, THIRD] = ['000000010000000000000003', '000000010000000000000004', '000000010000000000000005'];
const SUFFIX = '-timeline-1-from-0-300028';
const OLDER = ['20200101T000000Z-timeline-1-from-0-1', '20210101T000000Z-timeline-1-from-0-2'] as const;

let base: string;
let root: string;
let wal: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'pgha-discarded-'));
  root = join(base, 'data.discarded-wal');
  wal = join(base, 'data', 'pg_wal');
  await mkdir(wal, { recursive: true });
  await mkdir(join(base, 'data', 'global'));
  await writeFile(join(base, 'data', 'global', 'pg_control'), aControlFile(SEGMENT));
  for (const [n, name] of [FIRST, SECOND, THIRD].entries()) await writeFile(join(wal, name), Buffer.alloc(SEGMENT, n));
  await waldumpSays('exit 0');
});
afterEach(() => rm(base, { recursive: true }));

async function waldumpSays(script: string): Promise<void> {
  await writeFile(join(base, 'pg_waldump'), `#!/bin/sh\n${script}\n`);
  await chmod(join(base, 'pg_waldump'), 0o755);
}

function keep(to: Lsn = TO, bounds = { size: 100n << 20n, number: 5 }): Promise<DiscardedWal> {
  const config = aConfig({ dataDir: join(base, 'data'), discardedWal: { directory: null, ...bounds } });
  const place = aPlace(config, { binDir: base });
  const range = { timeline: timeline(1), from: FROM, to, leader: 'b' };
  return keepDiscardedWal(place, range, () => undefined, new AbortController().signal);
}

const kept = async (): Promise<string[]> => (await readdir(root)).sort();
const nameOf = ({ kept: path }: DiscardedWal): string => path?.split('/').at(-1) ?? 'nothing is kept';

async function edit(set: DiscardedWal, change: (report: Record<string, unknown>) => unknown): Promise<void> {
  const path = join(set.kept ?? '', 'report.json');
  const changed = change(JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>);
  await writeFile(path, typeof changed === 'string' ? changed : JSON.stringify(changed));
}

async function older(): Promise<void> {
  for (const name of OLDER) {
    await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, name, 'x'), 'x');
  }
}

test('what is kept as a whole is not kept once more', async () => {
  const first = await keep();
  expect(first).toMatchObject({ again: false, trouble: null });
  expect((await readdir(first.kept ?? '')).sort()).toEqual([FIRST, SECOND, THIRD, 'report.json']);
  expect(await keep()).toMatchObject({ again: true, kept: first.kept, trouble: null });
  expect(await keep(lsn(TO - 8n))).toMatchObject({ again: true, kept: first.kept });
});

describe('what is kept already does not count, and gives way to what is kept anew, when', () => {
  test.each<[string, (set: DiscardedWal) => Promise<unknown>]>([
    ['its range ends earlier', (set) => edit(set, (report) => ({ ...report, to: printLsn(lsn(TO - 8n)) }))],
    [
      'its transactions were not read',
      (set) => edit(set, (report) => ({ ...report, complete: false, trouble: ['the transactions: no memory'] })),
    ],
    ['a segment of it is cut', (set) => truncate(join(set.kept ?? '', SECOND), 100)],
    ['a segment of it is gone', (set) => rm(join(set.kept ?? '', SECOND))],
  ])('%s', async (_, spoil) => {
    const first = await keep();
    await spoil(first);
    const second = await keep();
    expect(second).toMatchObject({ again: false, trouble: null });
    expect(second.kept).not.toBe(first.kept);
    expect(await kept()).toEqual([nameOf(second)]);
    for (const name of [FIRST, SECOND, THIRD]) expect((await stat(join(second.kept ?? '', name))).size).toBe(SEGMENT);
  });

  test.each<[string, (report: Record<string, unknown>) => unknown]>([
    ['is not JSON', () => '{"to": '],
    ['is null', () => null],
    ['has no segments', (report) => ({ ...report, segments: 'all' })],
    ['names files of others', (report) => ({ ...report, segments: ['../../data/global/pg_control'] })],
    ['has no position', (report) => ({ ...report, to: 7 })],
    ['is about another cluster', (report) => ({ ...report, system_identifier: '1' })],
  ])('its report %s; then it stays', async (_, spoil) => {
    const first = await keep();
    await edit(first, spoil);
    const second = await keep();
    expect(second).toMatchObject({ again: false, trouble: null });
    expect(await kept()).toEqual([nameOf(first), nameOf(second)].sort());
  });
});

test('what an earlier try could not have either counts as kept', async () => {
  await rm(join(wal, SECOND));
  const first = await keep();
  expect(first).toMatchObject({ again: false, trouble: expect.stringMatching(/1 of its 3 segments .*000000000004/) });
  expect(await keep()).toMatchObject({ again: true, kept: first.kept, trouble: first.trouble });
});

test('what is recycled since an earlier try comes from there', async () => {
  const first = await keep();
  await waldumpSays(
    `case "$2" in */pg_wal) exit 1;; esac; echo "rmgr: Transaction len: 4/4, tx: 7, lsn: 0/1, desc: COMMIT 2026-11-20 10:44:00 UTC"`,
  );
  await rm(join(wal, FIRST));
  await writeFile(join(wal, SECOND), Buffer.alloc(SEGMENT, 9));
  const second = await keep(lsn(TO + 8n));
  expect(second).toMatchObject({ again: false, trouble: null, commits: 1 });
  expect(await kept()).toEqual([nameOf(second)]);
  const firstByte = async (name: string) => (await readFile(join(second.kept ?? '', name)))[0];
  expect([await firstByte(FIRST), await firstByte(SECOND)]).toEqual([0, 9]);
  expect(second.kept).not.toBe(first.kept);
});

test.each([
  ['the beginning', FIRST, /its beginning was not here any more/],
  ['one in the middle', SECOND, /1 of its 3 segments were not here, the first of them is 000000010000000000000004/],
  ['the end', THIRD, /1 of its 3 segments were not here, the first of them is 000000010000000000000005/],
])('is not called complete without %s', async (_, name, said) => {
  await rm(join(wal, name));
  const set = await keep();
  expect(set.trouble).toMatch(said);
  const report = JSON.parse(await readFile(join(set.kept ?? '', 'report.json'), 'utf8')) as Record<string, unknown>;
  expect(report).toMatchObject({ complete: false, trouble: [expect.stringMatching(said)] });
});

describe('what was kept of others', () => {
  test('stays where the new one cannot be made', async () => {
    await older();
    await rm(join(wal, SECOND));
    await mkdir(join(wal, SECOND));
    const set = await keep(TO, { size: 100n << 20n, number: 2 });
    expect(set).toMatchObject({ kept: null, trouble: expect.stringContaining('it could not be kept') });
    expect(await kept()).toEqual([...OLDER, expect.stringMatching(new RegExp(`${SUFFIX}.unfinished$`))]);
  });

  test('goes beyond the number, the oldest first, once the new one is there', async () => {
    await older();
    const set = await keep(TO, { size: 100n << 20n, number: 2 });
    expect(await kept()).toEqual([OLDER[1], nameOf(set)]);
  });

  test('goes beyond the size; the new one stays, whatever the clock says', async () => {
    await older();
    const later = '20990101T000000Z-timeline-1-from-0-9';
    await mkdir(join(root, later));
    const set = await keep(TO, { size: BigInt(3 * SEGMENT), number: 3 });
    expect(set.trouble).toBeNull();
    expect(await kept()).toEqual([nameOf(set), later]);
  });

  test('does not keep the rests of a crash', async () => {
    await older();
    await mkdir(join(root, `${OLDER[0]}.unfinished`));
    await mkdir(join(root, 'of-somebody-else.unfinished'));
    const set = await keep();
    expect(await kept()).toEqual([...OLDER, nameOf(set), 'of-somebody-else.unfinished'].sort());
  });
});

const line = (desc: string): string =>
  `rmgr: Transaction len (rec/tot):     46/    46, tx:        745, lsn: 0/0301B2C8, prev 0/0301B288, desc: ${desc}`;

it.each([
  ['COMMIT 2026-11-20 10:44:00.123456 UTC', { kind: 'commit', xid: 745, at: '2026-11-20T10:44:00.123Z' }],
  ['COMMIT 2026-11-20 10:44:00.5 UTC; inval msgs: catcache 55', { kind: 'commit', at: '2026-11-20T10:44:00.500Z' }],
  ['COMMIT_PREPARED gid x: 744: 2026-11-20 10:44:00 UTC', { kind: 'commit', at: '2026-11-20T10:44:00.000Z' }],
  ['ABORT 2026-11-20 10:44:00.123456 UTC', { kind: 'abort' }],
  ['COMMIT of another form', { kind: 'commit', at: null }],
])('%s', (desc, expected) => expect(transactionIn(line(desc))).toMatchObject(expected));

it.each([
  line('PREPARE gid x: 2026-11-20 10:44:00 UTC'),
  line('ASSIGNMENT xtop 745: subxacts: 746'),
  'rmgr: Heap        len (rec/tot):     59/    59, tx:        745, lsn: 0/0301B288, prev 0/0301B250, desc: INSERT off 1',
  '',
])('no end of a transaction: %s', (text) => expect(transactionIn(text)).toBeNull());
