/** What a real server says of its own inner works: its checkpointer, its archiver, its crashes, its oldest transactions. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Vitals } from '../../src/core/sickness.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
let server: TestServer;

beforeAll(async () => {
  servers = await postgresServers();
  server = await servers.addCluster('a', { parameters: { archive_mode: 'on', archive_command: 'true' } });
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary', (local) => local.failing === null);
});
afterAll(async () => {
  await servers.end();
});

/** Examines until it holds. */
async function until(what: string, holds: (vitals: Vitals) => boolean): Promise<Vitals> {
  for (let i = 0; i < 300; i++) {
    await server.look();
    server.instance.examine();
    const vitals = server.instance.vitals();
    if (holds(vitals)) return vitals;
    await sleep(50);
  }
  throw new Error(
    `not seen: ${what}; ${JSON.stringify(server.instance.vitals(), (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`,
  );
}
const pidOf = async (type: string): Promise<number> =>
  Number((await server.sql(`select pid from pg_stat_activity where backend_type = '${type}'`))[0]?.['pid']);

test('a server that is well: both directories, an archiver, small ages, no crash', async () => {
  const vitals = await until(
    'everything',
    ({ disks, archiver }) => disks.every(({ last }) => last !== null) && archiver !== null,
  );
  expect(vitals.disks.map(({ directory, last }) => [directory, last?.kind])).toEqual([
    ['data', 'done'],
    ['pg_wal', 'done'],
  ]);
  expect(vitals.archiver).toMatchObject({ failing: false });
  expect(vitals.checkpointer).toBeNull();
  expect(vitals.crashes).toEqual([]);
  expect(vitals.wraparound.map(({ of }) => of)).toEqual(['transactions', 'multixacts']);
  for (const { age } of vitals.wraparound) expect(age).toBeLessThan(1_000_000);
});

test('an archive_command that fails, and the WAL that waits for it', async () => {
  await server.sql("alter system set archive_command = 'false'");
  await server.sql('select pg_reload_conf()');
  await server.sql('create table t as select generate_series(1, 10)');
  await server.sql('select pg_switch_wal()');
  const { archiver } = await until('it fails', (vitals) => vitals.archiver?.failing === true);
  expect(archiver?.failures).toBeGreaterThan(0);
  expect(archiver?.waiting).toBeGreaterThan(0);
  expect(archiver?.lastFailed).toMatch(/^[0-9A-F]{24}$/);
  await server.sql("alter system set archive_command = 'true'");
  await server.sql('select pg_reload_conf()');
  await until('it works again', (vitals) => vitals.archiver?.failing === false && vitals.archiver.waiting === 0);
});

test('what was learned stays for a while when nobody is let in to learn more', async () => {
  const { archiver } = await until('it is known', (vitals) => vitals.archiver !== null);
  const file = join(server.dataDir, 'pg_hba.conf');
  const before = await readFile(file, 'utf8');
  const pid = Number((await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);
  try {
    await writeFile(file, 'local all all reject\nhost all all all reject\n');
    process.kill(pid, 'SIGHUP');
    for (let i = 0; i < 60; i++) {
      await server.look();
      server.instance.examine();
      expect(server.instance.vitals().archiver?.failures).toBe(archiver?.failures);
      await sleep(50);
    }
  } finally {
    await writeFile(file, before);
    process.kill(pid, 'SIGHUP');
  }
  await until('it is asked again', (vitals) => vitals.archiver !== null);
});

test('a checkpointer that somebody has stopped', async () => {
  const pid = await pidOf('checkpointer');
  process.kill(pid, 'SIGSTOP');
  const { checkpointer } = await until('it is stopped', (vitals) => vitals.checkpointer !== null);
  expect(checkpointer).toBe(`process ${pid} is stopped by a signal or a debugger`);
  process.kill(pid, 'SIGCONT');
  await until('it goes on', (vitals) => vitals.checkpointer === null);
});

test('each crash after which the server restarts itself is counted; a restart is none', async () => {
  for (let crashes = 1; crashes <= 2; crashes++) {
    process.kill(await pidOf('background writer'), 'SIGKILL');
    const vitals = await until(`crash ${crashes}`, (seen) => seen.crashes.length >= crashes);
    expect(vitals.crashes).toHaveLength(crashes);
    await server.until('primary', (local) => local.failing === null);
  }
  await server.instance.stop('fast', 10_000 as never);
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary', (local) => local.failing === null);
  await sleep(200);
  expect((await until('it is up', () => true)).crashes).toHaveLength(2);
});
