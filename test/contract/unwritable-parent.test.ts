/** A data directory whose parent the service may not write: a mount point, say. The machine may lose its power at any time. */
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { millis } from '../../src/core/time.ts';
import { runCommand } from '../../src/postgres/command.ts';
import { familyOf, signalProcess } from '../../src/postgres/family.ts';
import { NAME_INSIDE } from '../../src/postgres/markers.ts';
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
/** Root may write anywhere. */
let parent: string;
let dataDir: string;
beforeEach(async () => {
  servers = await postgresServers();
  parent = join(servers.directory, 'of-root');
  dataDir = join(parent, 'data');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await chmod(parent, 0o500);
});
afterEach(async () => {
  await chmod(parent, 0o700);
  await chmod(join(dataDir, 'base'), 0o700).catch(() => undefined);
  for (const member of familyOf({ dataDir })) signalProcess(member, 'SIGKILL');
  await servers.end();
});

const quiet = (): void => undefined;
const unhindered = async (): Promise<void> => undefined;
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

/** Its data directory is the one below the parent. */
const below = (postgresql: OwnSettings = {}): Promise<TestServer> =>
  servers.add('c', { data_dir: dataDir, ...postgresql });

async function leading(): Promise<TestServer> {
  const a = await servers.addCluster('a');
  await a.instance.startPrimary(SETTINGS);
  await a.until('primary');
  return a;
}

async function basebackup(a: TestServer): Promise<void> {
  const place = await a.instance.open();
  const from = ['-h', '127.0.0.1', '-p', String(a.port), '-U', 'postgres'];
  await runCommand(place, 'pg_basebackup', ['-D', dataDir, ...from, '-c', 'fast', '-X', 'stream', '--no-sync']);
}

/** The runtime directory is in memory. */
const forgetRuntime = (): Promise<void> => rm(join(servers.directory, 'c-run', 'unfinished'));

test('a rewind is not begun, changes nothing and says what to do; the start has warned of it', async () => {
  const a = await leading();
  await basebackup(a);
  const c = await below();
  await expect(c.instance.rewind(a.address, SETTINGS, quiet, within(60_000))).rejects.toMatchObject({
    code: 'PGHA_REWIND_FAILED',
    message: expect.stringMatching(/of-root cannot be written.*Nothing was changed.*one level below the mount point/s),
  });
  expect((await c.look()).kind).toBe('stopped');
  const warnings = c.told.filter(({ event }) => event === 'config.adjusted').map(({ sentence }) => sentence);
  expect(warnings).toEqual([expect.stringMatching(/of-root cannot be written: a rewind is not begun.*cannot be kept/)]);
  await c.look();
  expect(c.told.filter(({ event }) => event === 'config.adjusted')).toHaveLength(1);
});

test('a copy by pg_basebackup that did not end is known after a power loss, and the next one begins anew', async () => {
  const a = await leading();
  const c = await below({ basebackup: [{ 'max-rate': '4M' }] });
  const cancel = new AbortController();
  const copying = c.instance.copy(a.address, SETTINGS, quiet, cancel.signal);
  const refused = expect(copying).rejects.toMatchObject({ code: 'PGHA_CANCELLED' });
  for (let i = 0; i < 500 && !(await readdir(dataDir)).includes(NAME_INSIDE); i += 1) await sleep(10);
  // It is sent last: until then no server would start here.
  expect(await readdir(join(dataDir, 'global')).catch(() => [])).not.toContain('pg_control');
  cancel.abort();
  await refused;
  await forgetRuntime();
  expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'copy' });

  const next = await servers.add('d', { data_dir: dataDir });
  await next.instance.copy(a.address, SETTINGS, quiet, within(60_000));
  expect(await readdir(dataDir)).not.toContain(NAME_INSIDE);
  await next.instance.startStandby(a.address, SETTINGS);
  await next.until('standby', (standby) => standby.receiver?.streaming === true);
  await next.instance.stop('fast', millis(10_000));
});

test('a copy by a command that removes what it does not know is marked until it is on the disk', async () => {
  const a = await leading();
  const command = join(servers.directory, 'restore');
  const { binDir } = await a.instance.open();
  const steps = `-h 127.0.0.1 -p ${a.port} -U postgres -c fast --no-sync -D ${dataDir}`;
  await writeFile(
    command,
    `#!/bin/sh\n${binDir}/pg_basebackup ${steps} || exit\nsleep 0.5; rm ${dataDir}/${NAME_INSIDE} || exit\nsleep 1.5; exit 3\n`,
  );
  await chmod(command, 0o755);
  const c = await below({ create_replica_methods: ['own'], own: { command, no_params: true } });
  await expect(c.instance.copy(a.address, SETTINGS, quiet, within(60_000))).rejects.toThrow('own ended with 3');
  await forgetRuntime();
  expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'copy' });
});

test('a directory that is being emptied is marked from before the first file goes, and left without a mark', async () => {
  const a = await leading();
  await basebackup(a);
  const c = await below();
  // A directory that cannot be emptied: what is in it stays.
  const stubborn = join(dataDir, 'base');
  await chmod(stubborn, 0o500);
  const order = { systemId: null, source: null, signal: within(60_000) };
  await expect(c.instance.wipe(unhindered, order)).rejects.toThrow('EACCES');
  await forgetRuntime();
  expect(await readdir(join(dataDir, 'global')).catch(() => [])).not.toContain('pg_control');
  expect(await c.look()).toMatchObject({ kind: 'half-made' });
  await chmod(stubborn, 0o700);
  await c.instance.wipe(unhindered, order);
  expect(await readdir(dataDir)).toEqual([]);
  expect((await c.look()).kind).toBe('absent');
});
