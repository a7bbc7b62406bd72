/**
 * The operator's own commands for Postgres against a real one: scripts that do their work with pg_ctl, that lie, that
 * hang and that fail. What counts is always what became of Postgres.
 */
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceSetting } from '../../src/config/schema.ts';
import { millis } from '../../src/core/time.ts';
import { PghaError } from '../../src/errors.ts';
import { familyOf, postmasterOf, signalProcess } from '../../src/postgres/family.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
/** Those of one test; each has a name of its own, so that all share one template. */
let mine: TestServer[] = [];
let tests = 0;
beforeAll(async () => {
  servers = await postgresServers();
});
beforeEach(() => {
  tests++;
});
afterEach(() => {
  for (const server of mine) {
    server.instance.close();
    for (const member of familyOf(server)) signalProcess(member, 'SIGKILL');
  }
  mine = [];
});
afterAll(async () => {
  await servers.end();
});

const owned = (server: TestServer): TestServer => {
  mine.push(server);
  return server;
};
const addCluster = async (name = 'a'): Promise<TestServer> => owned(await servers.addCluster(`${name}${tests}`));
const addCopy = async (name: string, of: TestServer): Promise<TestServer> =>
  owned(await servers.addCopy(`${name}${tests}`, of));

const newest = readdirSync('/usr/lib/postgresql')
  .map(Number)
  .sort((a, b) => b - a)[0];
const pgCtl = (server: TestServer, rest: string): string =>
  `/usr/lib/postgresql/${newest}/bin/pg_ctl -D ${server.dataDir} ${rest}`;

const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

/** Replaces the commands of this server; those not named are our own way. */
function useCommands(server: TestServer, commands: Partial<Record<ServiceSetting, string>>, timeoutMs = 20_000): void {
  const { config } = server;
  const service = { ...config.commands.service };
  for (const name of Object.keys(service) as ServiceSetting[]) service[name] = commands[name] ?? null;
  server.instance.useConfig({
    ...config,
    commands: { ...config.commands, service, serviceTimeout: millis(timeoutMs) },
  });
}

const told = (server: TestServer): string => server.told.map(({ sentence }) => sentence).join('\n');
const distrusted = (server: TestServer): readonly string[] =>
  server.told.filter(({ event }) => event === 'command.distrusted').map(({ sentence }) => sentence);

async function failure(work: Promise<unknown>): Promise<PghaError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PghaError)) throw new Error(`no PghaError: ${String(error)}`);
  return error;
}

const postmaster = (server: TestServer): number | null => postmasterOf(familyOf(server))?.pid ?? null;

async function runningPrimary(name = 'a'): Promise<TestServer> {
  const server = await addCluster(name);
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary');
  return server;
}

async function streamingStandby(name: string, of: TestServer): Promise<TestServer> {
  const server = await addCopy(name, of);
  await server.instance.startStandby(of.address, SETTINGS);
  await server.until('standby', (standby) => standby.receiver?.streaming === true);
  return server;
}

/** Writes a line into a file, so that a test sees whether and when a command ran. */
const note = (server: TestServer): string => join(servers.directory, `${server.name}.note`);
const noted = async (server: TestServer): Promise<string> => readFile(note(server), 'utf8').catch(() => '');

describe('service_start_command', () => {
  test('starts a primary, which outlives the command and has a log of its own', async () => {
    const server = await addCluster();
    useCommands(server, { service_start_command: `echo ran >> ${note(server)}; ${pgCtl(server, '-w start')}` });
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary');
    expect(await noted(server)).toBe('ran\n');
    expect(distrusted(server)).toEqual([]);
    await server.instance.stop('fast', millis(5_000));
  });

  test('may be the server itself, in the foreground, and is then never ended as a command that hangs', async () => {
    const server = await addCluster();
    const postgres = `/usr/lib/postgresql/${newest}/bin/postgres -D ${server.dataDir}`;
    useCommands(server, { service_start_command: `exec ${postgres}`, service_reload_command: 'true' }, 2_000);
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary');
    const pid = postmaster(server);
    await sleep(2_500);
    await server.instance.applySettings({ ...SETTINGS, parameters: { ...SETTINGS.parameters, work_mem: '5MB' } });
    await sleep(500);
    expect(postmaster(server)).toBe(pid);
  });

  test('starts a standby with its standby.signal', async () => {
    const a = await runningPrimary('a');
    const b = await addCopy('b', a);
    useCommands(b, { service_start_command: pgCtl(b, '-w start') });
    await b.instance.startStandby(a.address, SETTINGS);
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
  });

  test('is not believed when it says yes and nothing runs', async () => {
    const server = await addCluster();
    useCommands(server, { service_start_command: 'echo Started PostgreSQL.' });
    const error = await failure(server.instance.startPrimary(SETTINGS));
    expect(error.code).toBe('PGHA_POSTGRES_START_FAILED');
    expect(error.text.happened).toContain('ended with 0, and no Postgres runs here: Started PostgreSQL.');
    expect(await server.look()).toMatchObject({ kind: 'stopped' });
  });

  test('that fails is told with its last line', async () => {
    const server = await addCluster();
    useCommands(server, { service_start_command: 'echo first; echo "Failed to start postgresql.service" >&2; exit 5' });
    const error = await failure(server.instance.startPrimary(SETTINGS));
    expect(error.code).toBe('PGHA_POSTGRES_START_FAILED');
    expect(error.text.happened).toContain('ended with 5');
    expect(error.text.happened).toContain('Failed to start postgresql.service');
  });

  test('that fails after Postgres has come up is told, and Postgres stays', async () => {
    const server = await addCluster();
    useCommands(server, { service_start_command: `${pgCtl(server, '-w start')}; exit 3` });
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary');
    await expect.poll(() => distrusted(server).join()).toContain('ended with 3; but Postgres runs');
  });

  test('that hangs is ended with all it started', async () => {
    const server = await addCluster();
    useCommands(server, { service_start_command: `sh -c 'sleep 2; echo late >> ${note(server)}' & wait` }, 1_000);
    const error = await failure(server.instance.startPrimary(SETTINGS));
    expect(error.text.happened).toContain('did not start Postgres within 1 s');
    await sleep(1_500);
    expect(await noted(server)).toBe('');
  });

  test('is not run when leadership is not proven any more, and ended when that happens meanwhile', async () => {
    const server = await addCluster();
    useCommands(server, {
      service_start_command: `echo ran >> ${note(server)}; sleep 1; ${pgCtl(server, '-w start')}`,
    });
    await expect(server.instance.startPrimary(SETTINGS, () => false)).rejects.toThrow('leadership');
    expect(await noted(server)).toBe('');
    let looks = 0;
    await expect(server.instance.startPrimary(SETTINGS, () => looks++ < 5)).rejects.toThrow('leadership');
    expect(await noted(server)).toBe('ran\n');
    await sleep(1_500);
    expect(await server.look()).toMatchObject({ kind: 'stopped' });
  });

  test('that takes standby.signal away has its server ended again', async () => {
    const a = await runningPrimary('a');
    const b = await addCopy('b', a);
    useCommands(b, { service_start_command: `rm ${b.dataDir}/standby.signal; ${pgCtl(b, '-w start')}` });
    const error = await failure(b.instance.startStandby(a.address, SETTINGS));
    expect(error.text.happened).toContain('removed standby.signal, so it was ended again');
    expect(familyOf(b)).toEqual([]);
  });

  test('that is at work does not go on when Postgres is ended at once', async () => {
    const server = await addCluster();
    const slow = `sleep 1; echo late >> ${note(server)}; ${pgCtl(server, '-w start')}`;
    useCommands(server, { service_start_command: slow, service_stop_command: 'true' });
    const starting = failure(server.instance.startPrimary(SETTINGS));
    await sleep(300);
    await server.instance.stop('immediate', millis(1_000));
    expect((await starting).code).toBe('PGHA_POSTGRES_START_FAILED');
    await sleep(1_500);
    expect(await noted(server)).toBe('');
    expect(await server.look()).toMatchObject({ kind: 'stopped' });
  });
});

describe('service_stop_command', () => {
  test('stops in order', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_stop_command: `echo ran >> ${note(server)}; ${pgCtl(server, '-m fast -w stop')}` });
    await server.instance.stop('fast', millis(10_000));
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: true });
    expect(await noted(server)).toBe('ran\n');
    expect(distrusted(server)).toEqual([]);
  });

  test('is not believed when it says yes and Postgres runs: our own signal follows', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_stop_command: 'echo Stopped.' });
    await server.instance.stop('fast', millis(10_000));
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: true });
    expect(distrusted(server).join()).toContain('service_stop_command ended with 0: Stopped.; Postgres still runs');
  });

  test('that fails or hangs costs at most half of the time for the stop', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_stop_command: 'sleep 60' });
    await server.instance.stop('fast', millis(4_000));
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: true });
    expect(distrusted(server).join()).toContain('was ended after 2 s');
  });

  test('is never waited for by a fence, nor by a stop that has hardly any time', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_stop_command: `sleep 3; echo ran >> ${note(server)}` });
    await server.instance.stop('immediate', millis(1_000));
    expect(familyOf(server)).toEqual([]);
    expect(await noted(server)).toBe('');
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary');
    await server.instance.stop('fast', millis(1_000));
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: true });
    // The one of the fence was ended before Postgres was started again.
    expect(await noted(server)).toBe('');
  });

  test('keeps the shutdown checkpoint of a switchover', async () => {
    const a = await runningPrimary('a');
    await streamingStandby('b', a);
    useCommands(a, { service_stop_command: pgCtl(a, '-m fast -w stop') });
    expect(await a.instance.stopForSwitchover(millis(10_000))).not.toBeNull();
    expect(await a.look()).toMatchObject({ kind: 'stopped', cleanly: true });
  });
});

describe('service_restart_command', () => {
  test('restarts a standby', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    const before = postmaster(b);
    useCommands(b, { service_restart_command: pgCtl(b, '-m fast -w restart') });
    await b.instance.restart(millis(10_000), SETTINGS);
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
    expect(postmaster(b)).not.toBe(before);
  });

  test('is not believed when Postgres goes on as it was, or is gone', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    const before = postmaster(b);
    useCommands(b, { service_restart_command: 'echo Restarted.' });
    const lied = await failure(b.instance.restart(millis(10_000), SETTINGS));
    expect(lied.text.happened).toContain('ended with 0, and Postgres goes on as it was: Restarted.');
    expect(postmaster(b)).toBe(before);
    useCommands(b, { service_restart_command: `${pgCtl(b, '-m fast -w stop')}; exit 1` });
    const stopped = await failure(b.instance.restart(millis(10_000), SETTINGS));
    expect(stopped.code).toBe('PGHA_POSTGRES_START_FAILED');
    expect(await b.look()).toMatchObject({ kind: 'stopped' });
  });
});

describe('service_reload_command', () => {
  const changed = { ...SETTINGS, parameters: { ...SETTINGS.parameters, work_mem: '7MB' } };
  const workMem = async (server: TestServer): Promise<unknown> => (await server.sql('SHOW work_mem'))[0]?.['work_mem'];

  test('is run when settings were written', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_reload_command: `echo ran >> ${note(server)}; ${pgCtl(server, 'reload')}` });
    await server.instance.applySettings(changed);
    await expect.poll(() => workMem(server)).toBe('7MB');
    expect(await noted(server)).toBe('ran\n');
  });

  test('is not waited for, and not believed: what it did not do is done by us', async () => {
    const server = await runningPrimary();
    useCommands(server, { service_reload_command: `sleep 1; echo ran >> ${note(server)}; sleep 60` }, 3_000);
    await server.instance.applySettings(changed);
    expect(await noted(server)).toBe('');
    await expect.poll(() => workMem(server), { timeout: 10_000 }).toBe('7MB');
    expect(distrusted(server).join()).toContain('Postgres did not read its settings');
  });
});

describe('promote_command', () => {
  async function candidate(): Promise<TestServer> {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await a.instance.stop('immediate', millis(1_000));
    return b;
  }

  /** Stays a standby in all tests that use it. */
  let steadfast: TestServer | null = null;
  async function neverPromoted(): Promise<TestServer> {
    if (steadfast === null) {
      steadfast = await candidate();
      mine = mine.filter((server) => server !== steadfast);
    }
    await steadfast.until('standby', (local) => local.timeline === 1);
    return steadfast;
  }

  test('promotes, and may go on with its own affairs', async () => {
    const b = await candidate();
    useCommands(b, { promote_command: `${pgCtl(b, '-w promote')} && sleep 1 && echo address moved >> ${note(b)}` });
    await b.instance.promote(() => true, within(20_000));
    await b.until('primary', (local) => local.timeline === 2);
    await expect.poll(() => noted(b), { timeout: 5_000 }).toBe('address moved\n');
    expect(distrusted(b)).toEqual([]);
  });

  test('is not run unless leadership is proven at that very moment', async () => {
    const b = await neverPromoted();
    useCommands(b, { promote_command: `echo ran >> ${note(b)}; ${pgCtl(b, '-w promote')}` });
    let asked = 0;
    // Yes before the preparations, no at the last look before the command.
    const error = await failure(b.instance.promote(() => ++asked < 3, within(20_000)));
    expect(error.code).toBe('PGHA_PROMOTE_NOT_ALLOWED');
    expect(asked).toBe(3);
    expect(await noted(b)).toBe('');
    expect((await b.until('standby')).timeline).toBe(1);
  });

  test('is not believed when it says yes and Postgres is still in recovery', async () => {
    const b = await neverPromoted();
    useCommands(b, { promote_command: 'echo server promoted' });
    const error = await failure(b.instance.promote(() => true, within(20_000)));
    expect(error.code).toBe('PGHA_PROMOTE_FAILED');
    expect(error.text.happened).toContain('ended with 0: server promoted, and Postgres is still in recovery');
    await b.until('standby');
  });

  test('that fails is a failed promotion, with its last line', async () => {
    const b = await neverPromoted();
    useCommands(b, { promote_command: 'echo "no such cluster" >&2; exit 4' });
    const error = await failure(b.instance.promote(() => true, within(20_000)));
    expect(error.text.happened).toContain('promote_command ended with 4: no such cluster');
  });

  test('that hangs is ended at its limit with its children, and does not promote afterwards', async () => {
    const b = await neverPromoted();
    useCommands(b, { promote_command: `sh -c 'sleep 2; ${pgCtl(b, 'promote')}' & wait` }, 1_000);
    const error = await failure(b.instance.promote(() => true, within(20_000)));
    expect(error.code).toBe('PGHA_PROMOTE_FAILED');
    expect(error.text.happened).toContain('was ended after 1 s');
    await sleep(1_500);
    expect(await b.look()).toMatchObject({ kind: 'standby', timeline: 1 });
  });

  test('is ended when leadership runs out before it has done its deed', async () => {
    const b = await neverPromoted();
    useCommands(b, { promote_command: `sleep 1.5; ${pgCtl(b, 'promote')}` });
    const until = performance.now() + 700;
    const error = await failure(b.instance.promote(() => performance.now() < until, within(20_000)));
    expect(error.text.happened).toContain('leadership was not proven any more');
    await sleep(1_500);
    expect(await b.look()).toMatchObject({ kind: 'standby', timeline: 1 });
  });

  test('is ended when Postgres is ended at once', async () => {
    const b = await candidate();
    useCommands(b, { promote_command: `sleep 1; echo late >> ${note(b)}` });
    const promoting = failure(b.instance.promote(() => true, within(20_000)));
    await sleep(300);
    await b.instance.stop('immediate', millis(1_000));
    expect((await promoting).code).toBe('PGHA_PROMOTE_FAILED');
    await sleep(1_000);
    expect(await noted(b)).toBe('');
  });
});

describe('follow_command', () => {
  /** c streamed from a; b is the new primary. */
  async function newPrimary(): Promise<{ b: TestServer; c: TestServer }> {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    const c = await streamingStandby('c', a);
    await a.instance.stop('fast', millis(5_000));
    await b.instance.promote(() => true, within(20_000));
    await b.until('primary');
    return { b, c };
  }
  const streamsFrom = (b: TestServer, c: TestServer): Promise<unknown> =>
    c.until('standby', (local) => local.receiver?.streaming === true && local.receiver.from === `127.0.0.1:${b.port}`);

  test('is run with the primary filled in; what it wrote by ALTER SYSTEM becomes ours', async () => {
    const { b, c } = await newPrimary();
    const psql = `/usr/lib/postgresql/${newest}/bin/psql -h 127.0.0.1 -p ${c.port} -U postgres -X -q`;
    const script = join(servers.directory, 'follow.sh');
    await writeFile(
      script,
      `#!/bin/sh\necho "$1 $2" >> ${note(c)}\n${psql} -c "ALTER SYSTEM SET primary_conninfo = '$3'" -c "SELECT pg_reload_conf()"\n`,
      { mode: 0o700 },
    );
    useCommands(c, { follow_command: `${script} %n %a "%c"` });
    await c.instance.follow({ ...b.address, nodeId: 7 });
    await streamsFrom(b, c);
    await expect.poll(() => noted(c)).toBe(`7 ${b.name}\n`);
    expect(distrusted(c)).toEqual([]);
    // Else the standby could not be withdrawn from its primary before the next election.
    await expect
      .poll(async () => readFile(join(c.dataDir, 'postgresql.auto.conf'), 'utf8'))
      .not.toContain('primary_conninfo');
    await c.instance.withdraw(within(5_000));
    expect(await c.until('standby', (local) => local.receiver === null)).toMatchObject({ follows: null });
  });

  test.each([
    ['lies', 'echo done'],
    ['fails', 'exit 9'],
    ['hangs', 'sleep 60'],
  ])('that %s is not waited for by the cycle, and followed by our own way', async (_, follow_command) => {
    const { b, c } = await newPrimary();
    useCommands(c, { follow_command }, 1_000);
    await c.instance.follow(b.address);
    // The cycle asks again until it sees the standby follow: still one run.
    await c.instance.follow(b.address);
    expect(distrusted(c)).toEqual([]);
    await streamsFrom(b, c);
    expect(distrusted(c)).toHaveLength(1);
    expect(told(c)).toContain(`it is made to follow ${b.name} by us`);
  });

  test('that is still at work gives way when the standby is withdrawn', async () => {
    const { b, c } = await newPrimary();
    useCommands(c, { follow_command: 'sleep 1' });
    await c.instance.follow(b.address);
    await sleep(200);
    await c.instance.withdraw(within(5_000));
    await sleep(1_500);
    expect(await c.look()).toMatchObject({ kind: 'standby', follows: null });
  });
});
