/** The adapter's running-server side against a real Postgres: what it sees, and what its steps really do. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Config } from '../../src/config/schema.ts';
import { mayWrite, position } from '../../src/core/local.ts';
import { type Lsn, parseLsn, timeline } from '../../src/core/lsn.ts';
import { millis } from '../../src/core/time.ts';
import { runCommand } from '../../src/postgres/command.ts';
import { parseControlData, parseControlDataText } from '../../src/postgres/control-data.ts';
import { DataDirectory } from '../../src/postgres/data-directory.ts';
import { familyOf, postmasterOf, signalProcess } from '../../src/postgres/family.ts';
import { PostgresInstance } from '../../src/postgres/instance.ts';
import { limitServerLog } from '../../src/postgres/server-process.ts';
import { SystemClock } from '../../src/system/clock.ts';
import { systemRandom } from '../../src/system/random.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
beforeEach(async () => {
  servers = await postgresServers();
});
afterEach(async () => {
  await servers.end();
});

const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

async function runningPrimary(name = 'a'): Promise<TestServer> {
  const server = await servers.addCluster(name);
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary');
  return server;
}

async function streamingStandby(name: string, of: TestServer): Promise<TestServer> {
  const server = await servers.addCopy(name, of);
  await server.instance.startStandby(of.address, SETTINGS);
  await server.until('standby', (standby) => standby.receiver?.streaming === true);
  return server;
}

/** As the next daemon has it. */
const anotherInstance = ({ config }: TestServer, postgresql: Partial<Config['postgresql']> = {}): PostgresInstance =>
  new PostgresInstance({
    config: { ...config, postgresql: { ...config.postgresql, ...postgresql } },
    log: { write: () => undefined },
    clock: new SystemClock(),
    random: systemRandom(),
  });

const postmaster = (server: TestServer): number => {
  const found = postmasterOf(familyOf(server));
  if (found === null) throw new Error(`${server.name} does not run`);
  return found.pid;
};

const replayedAll = async (standby: TestServer, primary: TestServer): Promise<void> => {
  const end = parseLsn(String((await primary.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
  await standby.until('standby', (local) => local.replayed >= end);
};

describe('a look', () => {
  test('goes from absent to stopped to primary to stopped', async () => {
    const absent = await servers.add('absent');
    expect(await absent.look()).toEqual({ kind: 'absent' });

    const server = await servers.addCluster('a');
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: true, timeline: 1, standbySignal: false });

    await server.instance.startPrimary(SETTINGS);
    // For a moment after it has come up the postmaster still says "starting up" to new connections.
    let primary = await server.until('primary');
    for (let i = 0; i < 50 && primary.failing !== null; i++) primary = await server.until('primary');
    expect(primary).toMatchObject({ timeline: 1, failing: null, senders: [], checkpointed: true });
    expect(Math.floor(primary.version / 10_000)).toBeGreaterThanOrEqual(12);
    expect(primary.startedAt).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d$/);

    await server.instance.stop('fast', millis(5_000));
    expect(await server.look()).toMatchObject({
      kind: 'stopped',
      cleanly: true,
      wasPrimary: true,
      systemId: primary.systemId,
    });
  });

  test('costs a few milliseconds on a running server', async () => {
    const server = await runningPrimary();
    const times: number[] = [];
    for (let i = 0; i < 50; i++) {
      const from = performance.now();
      await server.look();
      times.push(performance.now() - from);
    }
    times.sort((a, b) => a - b);
    console.log(`look: median ${times[25]?.toFixed(1)} ms, slowest ${times[49]?.toFixed(1)} ms`);
    expect(times[25]).toBeLessThan(25);
  });

  test('shows primary and standby to each other', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await replayedAll(b, a);
    const standby = await b.until('standby');
    expect(standby).toMatchObject({ timeline: 1, positionFinal: true, follows: `127.0.0.1:${a.port}`, failing: null });
    expect(standby.receiver).toMatchObject({ streaming: true, from: `127.0.0.1:${a.port}`, timeline: 1 });
    const primary = await a.until('primary', (local) => local.senders.length === 1);
    expect(primary.senders[0]).toMatchObject({ state: 'streaming', applicationName: 'b', user: 'postgres' });
  });

  test('says that a directory of something else is not ours', async () => {
    const server = await servers.addCluster('a');
    await writeFile(join(server.dataDir, 'PG_VERSION'), '11\n');
    expect(await server.look()).toMatchObject({ kind: 'unusable', code: 'PGHA_POSTGRES_TOO_OLD' });
    await rm(join(server.dataDir, 'PG_VERSION'));
    expect(await server.look()).toMatchObject({ kind: 'unusable', code: 'PGHA_DATA_DIRECTORY_FOREIGN' });
  });

  test('without its programs says that a server runs there, which may write, and not that there is none', async () => {
    const a = await runningPrimary('a');
    const stopped = await servers.addCluster('b');
    const withoutPrograms = (server: TestServer) => anotherInstance(server, { binDir: '/nowhere' });
    expect(await withoutPrograms(a).look(millis(1_000))).toMatchObject({
      kind: 'unusable',
      code: 'PGHA_POSTGRES_NOT_FOUND',
      runs: true,
    });
    const none = await withoutPrograms(stopped).look(millis(1_000));
    expect(none).toEqual({ kind: 'unusable', code: 'PGHA_POSTGRES_NOT_FOUND', sentence: expect.any(String) });
  });

  test('says that a directory is in use by a server that sees it elsewhere', async () => {
    const server = await runningPrimary();
    const link = join(servers.directory, 'another-path');
    await symlink(server.dataDir, link);
    const place = await server.instance.open();
    // No process works in what this is called.
    expect(
      await new DataDirectory({ ...place, dataDir: link, postmaster: () => null }).read(millis(1_000)),
    ).toMatchObject({ isLocked: true });
    expect(await new DataDirectory(place).read(millis(1_000))).toMatchObject({ isLocked: false });
  });

  test('a number in postmaster.pid that somebody else has got since keeps nobody down', async () => {
    const other = await runningPrimary('other');
    const server = await servers.addCluster('b');
    const path = join(server.dataDir, 'postmaster.pid');
    for (const pid of [process.pid, postmaster(other)]) {
      await writeFile(path, `${pid}\n${server.dataDir}\n1\n${server.port}\n${servers.directory}\n*\n\nready\n`);
      expect((await server.look()).kind).toBe('stopped');
      await server.instance.startPrimary(SETTINGS);
      await server.until('primary');
      await server.instance.stop('immediate', millis(1_000));
    }
    expect((await other.look()).kind).toBe('primary');
  });

  test('sees a running server also when its files are gone', async () => {
    const server = await runningPrimary();
    await rm(join(server.dataDir, 'PG_VERSION'));
    await rm(join(server.dataDir, 'postmaster.pid'));
    expect(await server.look()).toMatchObject({ kind: 'primary', failing: null });
  });

  test('waits with the position of a restarted standby until it has replayed what it had', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await replayedAll(b, a);
    await b.sql('SELECT pg_wal_replay_pause()');
    await a.sql('CREATE TABLE t AS SELECT generate_series(1, 300000) AS n');
    const end = parseLsn(String((await a.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
    await b.until('standby', (local) => local.received >= end);
    await a.instance.stop('immediate', millis(1_000));
    await b.instance.stop('immediate', millis(1_000));
    await b.instance.startStandby(a.address, SETTINGS);
    for (;;) {
      const local = await b.look();
      if (local.kind !== 'standby' || !local.positionFinal) continue;
      expect(position(local)).toBeGreaterThanOrEqual(end);
      break;
    }
  });

  test('takes a server without room for another connection as alive', async () => {
    const server = await runningPrimary();
    const facts = await server.until('primary');
    const full = Number((await server.sql('SHOW max_connections'))[0]?.['max_connections']);
    for (let i = 0; i < full; i++) await server.connect().catch(() => undefined);
    expect(await server.look()).toMatchObject({ kind: 'primary', failing: null, systemId: facts.systemId });
    await server.sql('SELECT 1').catch((error: unknown) => expect(error).toMatchObject({ code: '53300' }));
  });

  test('calls a server that replays its WAL after a crash starting, as a primary', async () => {
    const server = await runningPrimary();
    const seen = new Set<string>();
    const backend = (await server.sql('SELECT pg_backend_pid() AS pid'))[0];
    expect(backend).toBeDefined();
    const held = (await server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))[0];
    // A child that dies by a signal makes the postmaster throw everybody out and recover.
    process.kill(Number(held?.['pid']), 'SIGKILL');
    for (let i = 0; i < 400; i++) {
      const local = await server.look();
      seen.add(local.kind === 'starting' ? `starting as ${local.asPrimary ? 'primary' : 'standby'}` : local.kind);
      if (local.kind === 'primary' && local.failing === null && i > 20) break;
    }
    expect([...seen].every((kind) => kind === 'primary' || kind === 'starting as primary')).toBe(true);
    await server.until('primary', (local) => local.failing === null);
  });

  test('lists settings that wait for a restart', async () => {
    const server = await runningPrimary();
    const larger = { ...SETTINGS, parameters: { ...SETTINGS.parameters, shared_buffers: '24MB' } };
    await server.instance.applySettings(larger);
    const primary = await server.until('primary', (local) => local.pendingRestart.length > 0);
    expect(primary.pendingRestart).toEqual([{ name: 'shared_buffers', from: '16MB', to: '24MB' }]);
    await server.instance.restart(millis(5_000), larger);
    expect((await server.until('primary')).pendingRestart).toEqual([]);
  });

  test('keeps the facts of a frozen server and says that it fails', async () => {
    const server = await runningPrimary();
    const pid = postmaster(server);
    process.kill(pid, 'SIGSTOP');
    expect(await server.look(millis(300))).toMatchObject({ kind: 'primary', failing: { check: 'ping' } });
    for (const member of familyOf(server)) signalProcess(member, 'SIGSTOP');
    const from = performance.now();
    const frozen = await server.look(millis(300));
    expect(performance.now() - from).toBeLessThan(600);
    expect(frozen.kind).toBe('primary');
    for (const member of familyOf(server)) signalProcess(member, 'SIGCONT');
    await server.until('primary', (local) => local.failing === null);
  });

  test('calls a server silent from which nothing was ever learned', async () => {
    const server = await runningPrimary();
    for (const member of familyOf(server)) signalProcess(member, 'SIGSTOP');
    const other = anotherInstance(server);
    expect(await other.look(millis(300))).toMatchObject({ kind: 'silent' });
    for (const member of familyOf(server)) signalProcess(member, 'SIGCONT');
    expect(await other.look(millis(2_000))).toMatchObject({ kind: 'primary', failing: null });
    other.close();
  });
});

describe('the control file', () => {
  test('reads the same in bytes and in the output of pg_controldata, of a primary and of a standby', async () => {
    const a = await runningPrimary('a');
    await a.sql('CREATE TABLE t AS SELECT generate_series(1, 1000) AS n');
    const b = await streamingStandby('b', a);
    await replayedAll(b, a);
    for (const server of [b, a]) {
      await server.instance.stop('fast', millis(5_000));
      const place = await server.instance.open();
      const bytes = await readFile(join(server.dataDir, 'global', 'pg_control'));
      const { stdout } = await runCommand(place, 'pg_controldata', ['-D', server.dataDir], { env: { LC_ALL: 'C' } });
      const control = parseControlDataText(stdout);
      expect(parseControlData(bytes)).toEqual({ kind: 'read', control });
      // Nought in both would prove nothing about where it stands.
      expect(control.minRecoveryPoint > 0n).toBe(server === b);
    }
  });
});

describe('a death', () => {
  test('is told within a moment, and the children that are left are orphans until they are gone', async () => {
    const server = await runningPrimary();
    const busy = await server.connect();
    await busy.query('CREATE TABLE busy (n int)');
    // A backend that never looks at its socket outlives its postmaster.
    busy.query('DO $$ BEGIN LOOP INSERT INTO busy VALUES (1); COMMIT; END LOOP; END $$').catch(() => undefined);
    await sleep(100);
    const told = new Promise<number>((resolve) => server.instance.onDeath(() => resolve(performance.now())));
    const from = performance.now();
    process.kill(postmaster(server), 'SIGKILL');
    const after = (await told) - from;
    console.log(`death told after ${after.toFixed(1)} ms`);
    expect(after).toBeLessThan(500);
    expect(await server.look()).toMatchObject({ kind: 'orphans' });
    await server.instance.stop('immediate', millis(1_000));
    expect(familyOf(server)).toEqual([]);
    expect(await server.look()).toMatchObject({ kind: 'stopped', cleanly: false, wasPrimary: true });
  });
});

describe('starting and stopping', () => {
  test('quotes the log when the server ends at once', async () => {
    const server = await servers.addCluster('a');
    const squatter = createServer().listen(server.port, '127.0.0.1');
    await once(squatter, 'listening');
    const start = server.instance.startPrimary(SETTINGS);
    await expect(start).rejects.toMatchObject({ code: 'PGHA_POSTGRES_START_FAILED' });
    await expect(start).rejects.toThrow(/FATAL: .*TCP\/IP/);
    squatter.close();
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary');
  });

  test('a fast stop of a frozen server is escalated to SIGKILL within its limit', async () => {
    const server = await runningPrimary();
    for (const member of familyOf(server)) signalProcess(member, 'SIGSTOP');
    const from = performance.now();
    await server.instance.stop('fast', millis(200));
    expect(performance.now() - from).toBeLessThan(1_500);
    expect(familyOf(server)).toEqual([]);
  });

  test('a server outlives its adapter and is found again', async () => {
    const server = await runningPrimary();
    const before = postmaster(server);
    server.instance.close();
    await server.until('primary');
    expect(postmaster(server)).toBe(before);
    const cwd = await readFile(`/proc/${before}/stat`, 'latin1');
    const session = cwd.slice(cwd.lastIndexOf(')') + 2).split(' ')[3];
    expect(session).toBe(String(before));
  });
});

describe('where the data are', () => {
  const copied = (from: TestServer, to: string): Promise<void> => cp(from.dataDir, to, { recursive: true });

  test('a server whose directory was moved is found by its postmaster, and all of it is ended', async () => {
    const server = await runningPrimary();
    const family = familyOf(server);
    const moved = { dataDir: `${server.dataDir}.moved` };
    await rename(server.dataDir, moved.dataDir);
    server.instance.close();
    const next = anotherInstance(server);
    try {
      // By the path alone nobody would find it.
      expect(familyOf(server)).toEqual([]);
      const seen = await next.look(millis(1_000));
      expect(seen).toMatchObject({
        kind: 'silent',
        said: expect.stringContaining(`works in ${moved.dataDir} and not in`),
      });
      expect(mayWrite(seen)).toBe(true);
      // Whatever stands in its place says nothing of it.
      await cp(moved.dataDir, server.dataDir, { recursive: true });
      await writeFile(join(server.dataDir, 'standby.signal'), '');
      expect(mayWrite(await next.look(millis(1_000)))).toBe(true);
      for (const member of family) signalProcess(member, 'SIGSTOP');
      await next.stop('immediate', millis(1_000));
      expect(familyOf(moved)).toEqual([]);
      expect((await next.look(millis(1_000))).kind).toBe('stopped');
    } finally {
      next.close();
      for (const member of familyOf(moved)) signalProcess(member, 'SIGKILL');
    }
  });

  test('a link that leads nowhere at first is followed once it leads somewhere', async () => {
    const whole = await servers.addCluster('whole');
    const server = await servers.add('linked');
    const data = join(servers.directory, 'mounted', 'data');
    await symlink(data, server.dataDir);
    const told: string[] = [];
    server.instance.onMoved((dataDir) => told.push(dataDir));
    expect((await server.look()).kind).toBe('absent');
    await mkdir(join(servers.directory, 'mounted'));
    await copied(whole, data);
    try {
      // Nobody would find its processes by the directory that was found at first.
      await expect(server.instance.startPrimary(SETTINGS)).rejects.toThrow(/does not work in .*\/linked/);
      expect(familyOf({ dataDir: data })).toEqual([]);
      expect(await server.look()).toMatchObject({ kind: 'unusable', sentence: expect.stringContaining(data) });
      expect((await server.look()).kind).toBe('stopped');
      expect(server.instance.dataDirectory).toBe(data);
      expect(told).toEqual([server.dataDir, data]);
      await server.instance.startPrimary(SETTINGS);
      await server.until('primary');
      expect(familyOf({ dataDir: data }).length).toBeGreaterThan(3);
    } finally {
      await server.instance.stop('immediate', millis(1_000));
    }
    expect(familyOf({ dataDir: data })).toEqual([]);
  });

  test('a server on a disk that hangs is found, and ended, also by a daemon that has never seen the disk answer', async () => {
    const server = await runningPrimary();
    const version = join(server.dataDir, 'PG_VERSION');
    // Whoever opens it waits for a writer, as for a disk that does not answer.
    await rm(version);
    execFileSync('mkfifo', [version]);
    server.instance.close();
    const next = anotherInstance(server);
    try {
      const first = await next.look(millis(300));
      expect(first).toMatchObject({ kind: 'silent', said: expect.stringContaining('PG_VERSION') });
      expect(mayWrite(first)).toBe(true);
      const second = await next.look(millis(300));
      expect(second.kind === 'silent' && second.since).toBeGreaterThan(0);
      await next.stop('immediate', millis(1_000));
      expect(familyOf(server)).toEqual([]);
      // Without a server it is not said to be stopped: nobody can see in what state.
      expect((await next.look(millis(300))).kind).toBe('unusable');
    } finally {
      next.close();
      // Readers that wait are let go.
      closeSync(openSync(version, 'r+'));
    }
  });

  test('its own log is cut in the runtime directory, and the last lines stay', async () => {
    const { config } = await servers.add('a');
    const log = join(config.runtimeDirectory, 'postgres.log');
    const place = { clock: new SystemClock(), runtimeDirectory: config.runtimeDirectory };
    await writeFile(log, 'short\n');
    await limitServerLog(place);
    expect(await readFile(log, 'utf8')).toBe('short\n');
    await writeFile(log, `${'x'.repeat(9 << 20)}\nthe last line\n`);
    await limitServerLog(place);
    expect(await readFile(log, 'utf8')).toBe('');
    const kept = await readFile(`${log}.1`, 'utf8');
    expect(kept).toHaveLength(1 << 20);
    expect(kept.endsWith('x\nthe last line\n')).toBe(true);
  });
});

describe('a standby', () => {
  test('is promoted without a stall and asks before the step that cannot be undone', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await expect(b.instance.promote(() => false, within(5_000))).rejects.toMatchObject({
      code: 'PGHA_PROMOTE_NOT_ALLOWED',
    });
    let asked = 0;
    await expect(b.instance.promote(() => ++asked < 2, within(5_000))).rejects.toMatchObject({
      code: 'PGHA_PROMOTE_NOT_ALLOWED',
    });
    expect((await b.look()).kind).toBe('standby');
    await a.instance.stop('immediate', millis(1_000));
    const from = performance.now();
    await b.instance.promote(() => true, within(5_000));
    const took = performance.now() - from;
    console.log(`promoted in ${took.toFixed(0)} ms`);
    expect(took).toBeLessThan(1_000);
    expect(await b.until('primary')).toMatchObject({ timeline: 2, failing: null });
    await b.instance.checkpoint();
    expect(await b.look()).toMatchObject({ kind: 'primary', checkpointed: true });
  });

  test('withdraws for good, also with its replay paused, and follows again', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await replayedAll(b, a);
    await b.sql('SELECT pg_wal_replay_pause()');
    await a.sql('CREATE TABLE t AS SELECT generate_series(1, 1000) AS n');
    await sleep(50);
    const withdrawnAt = await b.instance.withdraw(within(5_000));
    await a.sql('INSERT INTO t VALUES (0)');
    await sleep(300);
    const standby = await b.until('standby');
    expect(standby).toMatchObject({ receiver: null, follows: null, replayPaused: true });
    expect(withdrawnAt).toBe(position(standby));
    await b.sql('SELECT pg_wal_replay_resume()');
    await b.instance.follow(a.address);
    await b.until('standby', (local) => local.receiver?.streaming === true);
    await replayedAll(b, a);
  });

  test('goes over to a promoted sibling by reload', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    const c = await streamingStandby('c', a);
    await replayedAll(b, a);
    await replayedAll(c, a);
    const before = postmaster(c);
    await a.instance.stop('immediate', millis(1_000));
    await b.instance.promote(() => true, within(5_000));
    await c.instance.follow(b.address);
    await c.until('standby', (local) => local.receiver?.timeline === 2);
    expect(await c.until('standby')).toMatchObject({ timeline: 2, follows: `127.0.0.1:${b.port}` });
    expect(postmaster(c)).toBe(before);
  });
});

describe('a rescue', () => {
  test('brings the tail of a killed primary to its standby, and nothing acknowledged is lost', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await a.sql('CREATE TABLE t (n int)');
    await replayedAll(b, a);
    const withdrawnAt = await b.instance.withdraw(within(5_000));
    await a.sql('INSERT INTO t SELECT generate_series(1, 200000)');
    await a.sql('INSERT INTO t VALUES (0)');
    await expect(a.instance.endOfWal(timeline(1), withdrawnAt)).rejects.toMatchObject({ code: 'PGHA_RESCUE_FAILED' });
    await a.instance.stop('immediate', millis(1_000));

    const before = await b.until('standby');
    const end = await a.instance.endOfWal(timeline(1), before.replayed);
    expect(end - withdrawnAt).toBeGreaterThan(8_000_000n);
    const from = performance.now();
    const chunk = await a.instance.readWal(timeline(1), withdrawnAt, end);
    await b.instance.deliverWal(timeline(1), [chunk], end, within(20_000));
    console.log(`${end - withdrawnAt} bytes rescued in ${(performance.now() - from).toFixed(0)} ms`);
    expect((await b.until('standby')).replayed).toBe(end);
    await b.instance.promote(() => true, within(5_000));
    expect((await b.sql('SELECT count(*)::int AS n FROM t'))[0]).toEqual({ n: 200_001 });

    // The new timeline begins exactly there, so the old primary follows without a rewind.
    await a.instance.startStandby(b.address, SETTINGS);
    await a.until('standby', (local) => local.timeline === 2 && local.receiver?.streaming === true);
    await replayedAll(a, b);
  });

  test('finds nothing beyond what the standby has after an orderly stop', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await a.instance.stop('fast', millis(5_000));
    const standby = await b.until('standby', (local) => local.receiver === null && local.positionFinal);
    expect(await a.instance.endOfWal(timeline(1), standby.replayed)).toBe(standby.replayed);
  });

  test('finds an end of WAL that is the end of its segment, with and without a next one', async () => {
    const a = await runningPrimary('a');
    const [row] = await a.sql('SELECT pg_switch_wal()::text AS at');
    await a.instance.stop('immediate', millis(1_000));
    const segment = 16n << 20n;
    const boundary = (parseLsn(String(row?.['at'])) / segment + 1n) * segment;
    const { checkpoint } = await a.until('stopped');
    expect(await a.instance.endOfWal(timeline(1), checkpoint)).toBeGreaterThanOrEqual(boundary);
    // Whatever came into the next segment goes with it.
    const segments = (await readdir(join(a.dataDir, 'pg_wal'))).filter((name) => name.length === 24).sort();
    for (const name of segments.slice(1)) await rm(join(a.dataDir, 'pg_wal', name));
    expect(await a.instance.endOfWal(timeline(1), checkpoint)).toBe(boundary);
    expect(await a.instance.endOfWal(timeline(1), boundary as Lsn)).toBe(boundary);
    await expect(a.instance.endOfWal(timeline(1), (boundary + 64n) as Lsn)).rejects.toMatchObject({
      code: 'PGHA_RESCUE_FAILED',
    });
  });

  test('names the end of WAL at which recovery ends', async () => {
    const a = await runningPrimary('a');
    await a.sql('CREATE TABLE t (n int)');
    for (let round = 0; round < 3; round++) {
      const writers = await Promise.all(Array.from({ length: 4 }, () => a.connect()));
      for (const writer of writers) {
        writer
          .query(`DO $$ BEGIN LOOP INSERT INTO t SELECT generate_series(1, 50); COMMIT; END LOOP; END $$`)
          .catch(() => undefined);
      }
      await sleep(150);
      const flushed = (await a.until('primary')).flushed;
      await a.instance.stop('immediate', millis(1_000));
      const stopped = await a.until('stopped');
      const end = await a.instance.endOfWal(timeline(1), stopped.checkpoint);
      expect(end).toBeGreaterThanOrEqual(flushed);
      await a.instance.startStandby(null, SETTINGS);
      const standby = await a.until('standby', (local) => local.positionFinal);
      expect(standby.replayed).toBe(end);
      await a.instance.stop('fast', millis(5_000));
      await a.instance.startPrimary(SETTINGS);
      await a.until('primary');
    }
  });
});

describe('a switchover', () => {
  test('stops with a shutdown checkpoint that the candidate has, and leaves no setting behind', async () => {
    const a = await runningPrimary('a');
    const b = await streamingStandby('b', a);
    await a.instance.prepareSwitchover(within(10_000));
    expect(await readFile(join(a.dataDir, 'postgresql.auto.conf'), 'utf8')).not.toContain('wal_sender_timeout');
    expect((await a.until('primary')).senders).toMatchObject([{ state: 'streaming' }]);
    const from = performance.now();
    const checkpoint = await a.instance.stopForSwitchover(millis(3_000));
    console.log(`stopped in ${(performance.now() - from).toFixed(0)} ms`);
    expect(checkpoint).not.toBeNull();
    expect(familyOf(a)).toEqual([]);
    expect(await a.look()).toMatchObject({ kind: 'stopped', cleanly: true, wasPrimary: true });
    const received = await b.until('standby', (local) => local.receiver === null);
    expect(received.received > (checkpoint as Lsn)).toBe(true);
    await a.instance.afterSwitchover();
    await b.instance.promote(() => true, within(5_000));
    await a.instance.startStandby(b.address, SETTINGS);
    await a.until('standby', (local) => local.timeline === 2);
  });

  test('sheds a frozen standby first and is not held up by it', async () => {
    const a = await runningPrimary('a');
    await streamingStandby('b', a);
    const c = await streamingStandby('c', a);
    const frozen = familyOf(c);
    for (const member of frozen) signalProcess(member, 'SIGSTOP');
    await a.sql('CREATE TABLE t AS SELECT generate_series(1, 100000) AS n');
    await a.instance.prepareSwitchover(within(10_000));
    expect((await a.until('primary')).senders.map((sender) => sender.applicationName)).toEqual(['b']);
    const from = performance.now();
    expect(await a.instance.stopForSwitchover(millis(3_000))).not.toBeNull();
    expect(performance.now() - from).toBeLessThan(1_500);
  });

  test('tells when the server had to be ended without a shutdown checkpoint', async () => {
    const server = await runningPrimary();
    for (const member of familyOf(server)) signalProcess(member, 'SIGSTOP');
    expect(await server.instance.stopForSwitchover(millis(200))).toBeNull();
    expect(familyOf(server)).toEqual([]);
  });
});
