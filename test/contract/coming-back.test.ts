/**
 * The way back of a node against real servers: what is kept of the WAL that it loses, rewinds whose WAL is missing, and
 * copies by every method, with tools that fail, hang and leave garbage.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Lsn, Timeline } from '../../src/core/lsn.ts';
import { parseLsn, printLsn, timeline } from '../../src/core/lsn.ts';
import { millis } from '../../src/core/time.ts';
import type { DiscardedWal } from '../../src/ports/postgres.ts';
import { runCommand } from '../../src/postgres/command.ts';
import {
  becomePostgres,
  type OwnSettings,
  type PostgresServers,
  postgresServers,
  SETTINGS,
  type TestServer,
} from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
beforeEach(async () => {
  servers = await postgresServers();
});
afterEach(async () => {
  await servers.end();
});

const REWINDABLE = { ...SETTINGS, usePgRewind: true };
const quiet = (): void => undefined;
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

interface Parted {
  /** Killed, with WAL that `leader` never had. */
  readonly old: TestServer;
  readonly leader: TestServer;
  readonly timeline: Timeline;
  readonly from: Lsn;
  readonly to: Lsn;
}

/** `a` goes on for `tail` after `b` stopped receiving, is killed, and `b` is promoted. */
async function parted(tail: readonly string[], postgresql: OwnSettings = {}): Promise<Parted> {
  const a = await servers.addCluster('a', postgresql);
  await a.instance.startPrimary(REWINDABLE);
  await a.until('primary');
  await a.sql('CREATE TABLE t (n int)');
  const b = await servers.addCopy('b', a);
  await b.instance.startStandby(a.address, REWINDABLE);
  await b.until('standby', (standby) => standby.receiver?.streaming === true);
  await a.sql('INSERT INTO t VALUES (1)');
  const sent = parseLsn(String((await a.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
  await b.until('standby', (standby) => standby.replayed >= sent);
  await b.instance.withdraw(within(5_000));
  for (const statement of tail) await a.sql(statement);
  await a.instance.stop('immediate', millis(1_000));
  await b.instance.promote(() => true, within(5_000));
  const history = await b.instance.ownHistory(timeline(2));
  const from = history.at(-1)?.switchedAt;
  if (from === undefined) throw new Error('b was not promoted');
  await b.sql('INSERT INTO t VALUES (2)');
  return { old: a, leader: b, timeline: timeline(1), from, to: await endOf(a) };
}

async function endOf(server: TestServer): Promise<Lsn> {
  const { checkpoint } = await server.until('stopped');
  return server.instance.endOfWal(timeline(1), checkpoint);
}

const keep = ({ old, leader, ...range }: Parted): Promise<DiscardedWal> =>
  old.instance.keepDiscarded({ ...range, leader: leader.name }, quiet, within(30_000));

async function comesBack(old: TestServer, leader: TestServer): Promise<void> {
  await old.instance.startStandby(leader.address, REWINDABLE);
  await old.until('standby', (standby) => standby.timeline === 2 && standby.receiver?.streaming === true);
  const end = parseLsn(String((await leader.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
  await old.until('standby', (standby) => standby.replayed >= end);
  const rows = await old.sql('SELECT n FROM t ORDER BY n');
  expect(rows.map((row) => row['n'])).toEqual([1, 2]);
}

describe('WAL that is thrown away', () => {
  test('is kept with a report of its transactions, can be read, and stays as it was through the rewind', async () => {
    const began = Date.now();
    const all = await parted([
      'INSERT INTO t VALUES (-1)',
      'INSERT INTO t VALUES (-2)',
      'BEGIN; INSERT INTO t VALUES (-3); ROLLBACK',
      'SELECT pg_switch_wal()',
      'INSERT INTO t VALUES (-4)',
    ]);
    const { old, leader } = all;
    const kept = await keep(all);
    expect(kept).toMatchObject({ commits: 3, again: false, trouble: null });
    expect(Date.parse(kept.firstCommit ?? '')).toBeGreaterThanOrEqual(began - 1);
    expect(Date.parse(kept.lastCommit ?? '')).toBeGreaterThanOrEqual(Date.parse(kept.firstCommit ?? ''));
    const directory = kept.kept ?? '';
    const report = JSON.parse(await readFile(join(directory, 'report.json'), 'utf8')) as Record<string, unknown>;
    expect(report).toMatchObject({
      node: 'a',
      leader: 'b',
      timeline: 1,
      from: printLsn(all.from),
      to: printLsn(all.to),
      complete: true,
      transactions: { commits: 3 },
    });
    expect((report['segments'] as string[]).length).toBe(2);

    // A second try finds it kept.
    expect(await keep(all)).toMatchObject({ again: true, kept: directory, commits: 3 });
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    await comesBack(old, leader);
    const place = await old.instance.open();
    const words = String(report['look']).split(' ');
    const read = await runCommand(place, 'pg_waldump', [...words.slice(1), '--rmgr=Transaction']);
    expect(read.stdout.match(/desc: COMMIT/g)).toHaveLength(3);
  });

  test('is not kept beyond its bounds: the oldest goes first, and what is too long is cut', async () => {
    const all = await parted(['INSERT INTO t VALUES (-1)', 'SELECT pg_switch_wal()', 'INSERT INTO t VALUES (-2)'], {
      discarded_wal_size: '16MB',
      discarded_wal_number: 2,
    });
    const root = `${all.old.dataDir}.discarded-wal`;
    const older = ['20200101T000000Z-timeline-1-from-0-1', '20210101T000000Z-timeline-1-from-0-2'];
    for (const name of [...older, '20220101T000000Z-timeline-1-from-0-3.unfinished', 'of-somebody-else'])
      await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, older[1] ?? '', 'x'), 'x');
    const kept = await keep(all);
    expect(kept.trouble).toMatch(/only the first 1 of 2 segments/);
    expect(kept.commits).toBe(2);
    const left = await readdir(root);
    expect(left.sort()).toEqual([kept.kept?.split('/').at(-1), 'of-somebody-else'].sort());
  });

  test('where it cannot be kept, its transactions are told all the same', async () => {
    const all = await parted(['INSERT INTO t VALUES (-1)'], { discarded_wal_number: 0 });
    expect(await keep(all)).toMatchObject({ kept: null, commits: 1, trouble: expect.stringContaining('not kept') });
    const blocked = { ...all, old: all.old };
    await writeFile(`${all.old.dataDir}.discarded-wal`, 'a file in the way');
    expect(await keep(blocked)).toMatchObject({ kept: null, commits: 1 });
  });
});
