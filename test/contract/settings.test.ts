/**
 * Settings that an operator is about to store, put to a real server: what it would not take is told before, and nothing
 * of what it runs with changes by the asking. And what is written anyway leaves a server that starts.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { millis } from '../../src/core/time.ts';
import type { ServerSettings } from '../../src/ports/postgres.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

let servers: PostgresServers;
let server: TestServer;

const withParameters = (parameters: ServerSettings['parameters']): ServerSettings => ({
  ...SETTINGS,
  parameters: { ...SETTINGS.parameters, ...parameters },
});

beforeAll(async () => {
  becomePostgres();
  servers = await postgresServers();
  await writeFile(join(servers.directory, 'own.conf'), 'work_mem = 3MB\n');
  server = await servers.addCluster('one', {
    custom_conf: join(servers.directory, 'own.conf'),
    recovery_conf: { archive_cleanup_command: "echo '%r'" },
  });
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary', (local) => local.failing === null);
}, 60_000);

afterAll(async () => {
  await servers?.end();
});

const show = async (name: string): Promise<unknown> => Object.values((await server.sql(`SHOW ${name}`))[0] ?? {})[0];

describe('settings that are to be stored', () => {
  test.each<[string, ServerSettings['parameters'], RegExp | null]>([
    ['a value that fits', { work_mem: '8MB' }, null],
    ['a parameter of an extension', { 'my_extension.level': 'high' }, null],
    ['a library that is there', { shared_preload_libraries: 'auto_explain' }, null],
    ['a misspelt name', { wrok_mem: '8MB' }, /parameters\.wrok_mem: .*unrecognized.*did you mean `work_mem`/],
    ['a unit that does not exist', { work_mem: '8XB' }, /parameters\.work_mem: .*invalid value/],
    ['a word that is none of its words', { log_statement: 'som' }, /parameters\.log_statement: .*invalid value/],
    ['a number out of its range', { max_wal_size: '1kB' }, /parameters\.max_wal_size: .*outside the valid range/],
    ['text for a boolean', { fsync: 'maybe' }, /parameters\.fsync: .*Boolean/],
    ['too few connections', { max_connections: 3 }, /parameters\.max_connections: 3 cannot be used/],
    ['a library that is not there', { shared_preload_libraries: 'no_such_library' }, /not start.*no_such_library/],
    ['values that exclude each other', { superuser_reserved_connections: 100 }, /not start.*reserved/],
    ['a certificate that is not there', { ssl: 'on' }, /not start.*server\.crt/],
  ])('%s', async (_what, parameters, said) => {
    const before = await readdir(server.dataDir);
    const objections = await server.instance.objections(withParameters(parameters), SETTINGS);
    if (said === null) expect(objections).toEqual([]);
    else expect(objections).toEqual([expect.stringMatching(said)]);
    expect(await readdir(server.dataDir)).toEqual(before);
  });

  test('all wrong parameters are told at once, and what was wrong before is not', async () => {
    const wrong = { wrok_mem: '8MB', log_statement: 'som' };
    expect(await server.instance.objections(withParameters(wrong), SETTINGS)).toHaveLength(2);
    const again = withParameters({ ...wrong, work_mem: '9MB' });
    expect(await server.instance.objections(again, withParameters(wrong))).toEqual([]);
  });
});

test("the operator's own file and settings of recovery are in force", async () => {
  expect(await show('work_mem')).toBe('3MB');
  expect(await show('archive_cleanup_command')).toBe("echo '%r'");
  expect(await readFile(join(server.dataDir, 'postgresql.conf'), 'utf8')).toContain("own.conf'");
});

test('a pg_hba.conf that Postgres does not read is taken back, and the server starts again', async () => {
  const good = { ...SETTINGS, pgHba: ['host all,replication all 127.0.0.1/32 trust'], pgIdent: ['ops root postgres'] };
  expect(await server.instance.applySettings(good)).toBe(true);
  const path = join(server.dataDir, 'pg_hba.conf');
  const before = await readFile(path, 'utf8');
  await server.instance.applySettings({ ...good, pgHba: [...good.pgHba, 'host all all ::1/128 md5 no_such=1'] });
  expect(await readFile(path, 'utf8')).toBe(before);
  expect(server.told.at(-1)?.sentence).toMatch(/stays as it was.*no_such/);
  expect(await readFile(join(server.dataDir, 'pg_ident.conf'), 'utf8')).toContain('ops root postgres');
  await server.instance.restart(millis(10_000), good);
  await server.until('primary', (local) => local.failing === null);
});

describe('a parameter that has to be at least as large on a standby', () => {
  const connections = (max_connections: number): ServerSettings => withParameters({ max_connections });
  const ofStandby = async (standby: TestServer): Promise<unknown> =>
    (await standby.sql('SHOW max_connections'))[0]?.['max_connections'];

  test('waits on the standby until the primary was restarted with less, and restarts a standby that has too little', async () => {
    const standby = await servers.addCopy('two', server);
    await standby.instance.startStandby(server.address, connections(50));
    await standby.until('standby', (local) => local.receiver?.streaming === true);
    // The primary runs with 100.
    const waiting = await standby.until('standby', (local) => local.pendingRestart.length > 0);
    expect(waiting.pendingRestart).toContainEqual({ name: 'max_connections', from: '100', to: '50' });
    expect(await ofStandby(standby)).toBe('100');

    await server.instance.stop('fast', millis(10_000));
    await server.instance.startPrimary(connections(50));
    await server.until('primary', (local) => local.failing === null);
    await server.sql('CREATE TABLE IF NOT EXISTS fewer ()');
    await standby.until('standby', (local) => local.receiver?.streaming === true && local.replayed === local.received);
    await standby.instance.restart(millis(10_000), connections(50));
    await standby.until('standby', (local) => local.pendingRestart.every(({ name }) => name !== 'max_connections'));
    expect(await ofStandby(standby)).toBe('50');
    expect(await standby.instance.outgrown()).toEqual([]);

    await server.instance.stop('fast', millis(10_000));
    await server.instance.startPrimary(connections(60));
    await standby.until('standby', (local) => local.replayPaused);
    expect(await standby.instance.outgrown()).toEqual(['max_connections']);
    await standby.instance.restart(millis(10_000), connections(60));
    await standby.until('standby', (local) => local.receiver?.streaming === true && !local.replayPaused);
    expect(await ofStandby(standby)).toBe('60');
  }, 60_000);
});
