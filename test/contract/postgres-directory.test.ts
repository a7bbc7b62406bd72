/**
 * The data directory side of the Postgres adapter, on a real server: what is made, copied, rewound, emptied and
 * written. Servers run on free loopback ports in a directory under /tmp, as user postgres when the tests run as root.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  access,
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Config } from '../../src/config/schema.ts';
import { systemId } from '../../src/core/local.ts';
import { parseLsn, timeline } from '../../src/core/lsn.ts';
import { laterBy, millis } from '../../src/core/time.ts';
import { kinship } from '../../src/core/timeline.ts';
import type { ServerAddress, ServerSettings } from '../../src/ports/postgres.ts';
import { copyFrom } from '../../src/postgres/basebackup.ts';
import { bootstrapCluster, setNewClusterAside } from '../../src/postgres/bootstrap.ts';
import { runCommand } from '../../src/postgres/command.ts';
import { readControlData } from '../../src/postgres/control-data.ts';
import { endFamily, familyOf } from '../../src/postgres/family.ts';
import { readHistoryFile, readLineage } from '../../src/postgres/lineage.ts';
import { clearMarker, markerPath, readMarker, setMarker } from '../../src/postgres/markers.ts';
import type { Place } from '../../src/postgres/place.ts';
import type { Query, Row } from '../../src/postgres/remote.ts';
import { emptyForCopy } from '../../src/postgres/replica-methods.ts';
import { rewindFrom } from '../../src/postgres/rewind.ts';
import { setStandbySignal, writeConfiguration, writeUpstream } from '../../src/postgres/server-config.ts';
import { targetState, wipeDirectory } from '../../src/postgres/wipe.ts';
import { removeSharedMemory } from '../shared-memory.ts';
import {
  aConfig,
  aControlFile,
  aLog,
  aLogin,
  aPlace,
  realClock,
  type Written,
} from '../unit/postgres/place-builder.ts';

const BIN = '/usr/lib/postgresql/15/bin';
const SETTINGS: ServerSettings = {
  parameters: { fsync: 'off', max_connections: 30, shared_buffers: '16MB' },
  recoveryConf: {},
  pgHba: null,
  pgIdent: null,
  usePgRewind: true,
  useSlots: true,
  logicalSlots: false,
  synchronous: false,
};
const quiet = (): void => undefined;
const unhindered = async (): Promise<void> => undefined;
const never = new AbortController().signal;
/** Of whatever cluster. */
const ANY = { systemId: null, signal: never };

let base: string;
let runAs: { uid: number; gid: number } | undefined;
const places: Place[] = [];
const servers: ChildProcess[] = [];

beforeAll(async () => {
  if (process.getuid?.() === 0) {
    const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith('postgres:'));
    const [, , uid, gid] = line?.split(':') ?? [];
    runAs = { uid: Number(uid), gid: Number(gid) };
  }
  base = await mkdtemp('/tmp/pgha-dir-');
  await ours(base);
});

afterAll(async () => {
  for (const place of places) await stop(place);
  removeSharedMemory(base);
  await rm(base, { recursive: true, force: true });
  // None of ours is left behind.
  expect(places.flatMap((place) => familyOf(place))).toEqual([]);
});

async function ours(path: string): Promise<void> {
  if (runAs !== undefined) await chown(path, runAs.uid, runAs.gid);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function directory(...path: string[]): Promise<string> {
  const made = join(base, ...path);
  await mkdir(made, { recursive: true, mode: 0o700 });
  await ours(made);
  return made;
}

async function node(
  name: string,
  postgresql: Partial<Config['postgresql']> = {},
  bootstrap: Partial<Config['bootstrap']> = {},
): Promise<Place & { readonly log: { readonly written: Written[] } }> {
  const port = await freePort();
  await directory(name);
  const config = aConfig(
    {
      dataDir: join(base, name, 'data'),
      listen: { addresses: '127.0.0.1', port },
      connectAddress: { host: '127.0.0.1', port },
      authentication: {
        superuser: aLogin('postgres', `su'per:\\secret`),
        replication: aLogin('replicator', 'rep:p\\w'),
        rewind: aLogin('rewinder', `re'w`),
      },
      ...postgresql,
    },
    {
      name,
      runtimeDirectory: await directory(name, 'run'),
      bootstrap: { dcs: {}, initdb: ['--no-sync'], method: null, pgHba: null, postBootstrap: null, ...bootstrap },
    },
  );
  const log = aLog();
  const place = { ...aPlace(config, { log, ...(runAs === undefined ? {} : { runAs }) }), log };
  places.push(place);
  return place;
}

const address = (place: Place): ServerAddress => ({
  name: place.config.node.name,
  host: '127.0.0.1',
  port: place.port,
});

/** As the adapter's other half starts it; a child of the test, ended with it. */
async function start(place: Place): Promise<void> {
  const child = spawn(join(BIN, 'postgres'), ['-D', place.dataDir], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(runAs ?? {}),
  });
  servers.push(child);
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) throw new Error(`postgres ended: ${said}`);
    try {
      await sql(place, 'SELECT 1');
      return;
    } catch {
      await realClock.sleep(millis(50));
    }
  }
  throw new Error(`postgres does not answer: ${said}`);
}

async function stop(place: Place): Promise<void> {
  const [first] = familyOf(place);
  if (first === undefined) return;
  await runCommand(place, 'pg_ctl', ['-D', place.dataDir, '-m', 'fast', '-w', '-t', '20', 'stop'], { limitMs: 25_000 });
  await kill(place);
}

const kill = (place: Place): Promise<boolean> => endFamily(place, realClock, laterBy(realClock.now(), millis(5_000)));

async function session<T>(place: Place, work: (query: Query) => Promise<T>, client: pg.ClientConfig = {}): Promise<T> {
  const login = place.config.postgresql.authentication.superuser;
  const connection = new pg.Client({
    host: place.socketDir,
    port: place.port,
    user: login.username,
    password: login.password ?? '',
    database: 'postgres',
    connectionTimeoutMillis: 3_000,
    ...client,
  });
  connection.on('error', () => undefined);
  try {
    await connection.connect();
    return await work(async (text, values) => (await connection.query<Row>(text, values && [...values])).rows);
  } finally {
    await connection.end().catch(() => undefined);
  }
}

const sql = (place: Place, text: string): Promise<readonly Row[]> => session(place, (query) => query(text));
const one = async (place: Place, text: string): Promise<unknown> => Object.values((await sql(place, text))[0] ?? {})[0];

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await look().catch(() => false)) return;
    await realClock.sleep(millis(50));
  }
  throw new Error(`not within 10 s: ${what}`);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const follows = (standby: Place): Promise<void> =>
  until(`${standby.config.node.name} streams`, async () => {
    const status = await one(standby, 'SELECT status FROM pg_stat_wal_receiver');
    return status === 'streaming';
  });

describe('a new cluster', () => {
  test('has its users, was not reachable by TCP while it was made, and is left stopped', async () => {
    const hook = join(base, 'hook.sh');
    await writeFile(
      hook,
      `#!/bin/sh\n"${BIN}/psql" -XAt "$2" -c 'CREATE TABLE made_by_hook AS SELECT 1' && echo "$1"\n`,
    );
    await chmod(hook, 0o755);
    const place = await node('new', {}, { postBootstrap: `${hook} 'an argument'` });
    const reached: string[] = [];
    let watching = true;
    const knock = async (): Promise<void> => {
      while (watching) {
        await new Promise<void>((resolve) => {
          const socket = connect(place.port, '127.0.0.1', () => {
            reached.push('tcp');
            socket.destroy();
            resolve();
          });
          socket.on('error', () => resolve());
        });
        if (await exists(join(place.socketDir, `.s.PGSQL.${place.port}`))) reached.push('the usual socket');
        await realClock.sleep(millis(10));
      }
    };
    const knocking = knock();
    const told: string[] = [];
    const id = await bootstrapCluster(place, SETTINGS, (sentence) => told.push(sentence), never);
    watching = false;
    await knocking;

    expect(reached).toEqual([]);
    expect(familyOf(place)).toEqual([]);
    expect((await readControlData(place)).systemId).toBe(id);
    expect((await readControlData(place)).state).toBe('shut down');
    expect(await readMarker(place)).toBeNull();
    expect(told.length).toBeGreaterThan(1);
    expect(await exists(join(place.runtimeDirectory, 'initdb-password'))).toBe(false);

    await start(place);
    expect(await one(place, 'SHOW data_checksums')).toBe('on');
    expect(await one(place, 'SHOW server_encoding')).toBe('UTF8');
    expect(await one(place, 'SELECT count(*)::int FROM made_by_hook')).toBe(1);
    for (const login of Object.values(place.config.postgresql.authentication)) {
      const tcp = { host: '127.0.0.1', user: login.username, password: login.password ?? '' };
      expect(await session(place, (query) => query('SELECT 1 AS yes'), tcp)).toEqual([{ yes: 1 }]);
      await expect(session(place, (query) => query('SELECT 1'), { ...tcp, password: 'wrong' })).rejects.toThrow(
        /password/,
      );
    }
    await stop(place);
  });

  test('that failed is kept beside under another name, and says why', async () => {
    const place = await node('fails', {}, { postBootstrap: '/bin/sh -c "echo no such thing >&2; exit 3"' });
    await expect(bootstrapCluster(place, SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_BOOTSTRAP_FAILED',
      message: expect.stringContaining('no such thing'),
    });
    expect((await readdir(join(base, 'fails'))).sort()).toEqual(['data.failed-1', 'run']);
    expect(familyOf(place)).toEqual([]);
    expect(familyOf({ dataDir: `${place.dataDir}.failed-1` })).toEqual([]);
  });

  test('that failed behind a link leaves the link, and where it leads', async () => {
    const place = await node('linked', {}, { postBootstrap: '/bin/false' });
    const real = join(await directory('linked', 'disk'), 'data');
    await mkdir(real, { mode: 0o700 });
    await ours(real);
    await symlink(real, place.dataDir);
    await expect(bootstrapCluster({ ...place, dataDir: real }, SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_BOOTSTRAP_FAILED',
    });
    expect((await readdir(join(base, 'linked', 'disk'))).sort()).toEqual(['data', 'data.failed-1']);
    expect(await readdir(place.dataDir)).toEqual([]);
  });

  test('is not made where something is, and is made where one was interrupted', async () => {
    const place = await node('again');
    await directory('again', 'data');
    await writeFile(join(place.dataDir, 'precious'), 'x');
    await expect(bootstrapCluster(place, SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_BOOTSTRAP_FAILED',
    });
    expect(await readFile(join(place.dataDir, 'precious'), 'utf8')).toBe('x');
    await setMarker(place, 'initdb');
    await bootstrapCluster(place, SETTINGS, quiet, never);
    expect(await exists(join(place.dataDir, 'precious'))).toBe(false);
    // The daemon died while its temporary server ran.
    await start(place);
    await setMarker(place, 'initdb');
    await bootstrapCluster(place, SETTINGS, quiet, never);
    expect(familyOf(place)).toEqual([]);

    // Another member's cluster was first: a copy of that one takes its place.
    expect(await setNewClusterAside(place)).toContain('data.failed-1');
    expect(await exists(place.dataDir)).toBe(false);
    expect(await exists(join(base, 'again', 'data.failed-1', 'PG_VERSION'))).toBe(true);
    expect(await readMarker(place)).toBeNull();
    // It is the stranger of a test below.
    await rename(join(base, 'again', 'data.failed-1'), place.dataDir);
  });

  test('can be cancelled', async () => {
    const place = await node('cancelled');
    const cancel = new AbortController();
    const work = bootstrapCluster(place, SETTINGS, quiet, cancel.signal);
    setTimeout(() => cancel.abort(), 200);
    await expect(work).rejects.toMatchObject({ code: 'PGHA_CANCELLED' });
    expect(await exists(place.dataDir)).toBe(false);
    expect(await readMarker(place)).toBeNull();
  });
});

describe('nodes of one cluster', () => {
  let a: Awaited<ReturnType<typeof node>>;
  let b: Awaited<ReturnType<typeof node>>;
  const odd = `it's C:\\temp "x" # no comment`;

  beforeAll(async () => {
    a = await node('a', { parameters: { 'pgha_test.odd': odd } });
    b = await node('b');
    await bootstrapCluster(a, SETTINGS, quiet, never);
    await start(a);
    await sql(a, 'CREATE TABLE t (n int)');
    await sql(a, `SELECT pg_create_physical_replication_slot('b', true)`);
  });

  afterEach(() => {
    for (const place of [a, b]) place.log.written.length = 0;
  });

  test('odd values come back as they were written', async () => {
    expect(await one(a, 'SHOW pgha_test.odd')).toBe(odd);
    expect(await one(a, 'SHOW max_connections')).toBe('30');
    expect(await one(a, `SELECT count(*)::int FROM pg_file_settings WHERE error IS NOT NULL`)).toBe(0);
    expect(await one(a, `SELECT count(*)::int FROM pg_hba_file_rules WHERE error IS NOT NULL`)).toBe(0);
  });

  test('a copy is refused over something that is not ours, and leaves it alone', async () => {
    await directory('b', 'data');
    await writeFile(join(b.dataDir, 'precious'), 'x');
    await expect(copyFrom(b, address(a), SETTINGS, quiet, never)).rejects.toMatchObject({ code: 'PGHA_COPY_FAILED' });
    expect(await readdir(b.dataDir)).toEqual(['precious']);
    expect(await readMarker(b)).toBeNull();
  });

  test('a copy from a server that is not there says so and stays marked', async () => {
    await rm(b.dataDir, { recursive: true });
    const nowhere = { name: 'nowhere', host: '127.0.0.1', port: await freePort() };
    await expect(copyFrom(b, nowhere, SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_COPY_FAILED',
      message: expect.stringMatching(/Connection refused/),
    });
    expect(await readMarker(b)).toMatchObject({ work: 'copy' });
  });

  test('a copy replaces what an interrupted one left, and streams through its slot', async () => {
    await directory('b', 'data');
    // As open as a mount point may be: Postgres would not start on it.
    await chmod(b.dataDir, 0o755);
    await writeFile(join(b.dataDir, 'half'), 'x');
    const fractions: (number | null)[] = [];
    await copyFrom(b, address(a), SETTINGS, (_sentence, fraction) => fractions.push(fraction), never);
    expect(await exists(join(b.dataDir, 'half'))).toBe(false);
    expect(await readMarker(b)).toBeNull();
    expect(fractions.at(-1)).toBe(1);
    await start(b);
    await follows(b);
    expect(await one(b, 'SELECT pg_is_in_recovery()')).toBe(true);
    expect(await one(a, `SELECT active FROM pg_replication_slots WHERE slot_name = 'b'`)).toBe(true);
    expect(await one(a, 'SELECT application_name FROM pg_stat_replication')).toBe('b');
    expect(await readFile(join(b.dataDir, 'pgha-upstream.conf'), 'utf8')).not.toContain('rep:p');
  });

  test('writing the same configuration again changes nothing; an upstream is a write of one file', async () => {
    expect(await writeConfiguration(b, SETTINGS)).toMatchObject({ changed: false });
    expect(await writeUpstream(b, address(a))).toEqual({ changed: false });
    expect(await writeUpstream(b, null)).toEqual({ changed: true });
    await sql(b, 'SELECT pg_reload_conf()');
    await until('the receiver is gone', async () => (await sql(b, 'SELECT 1 FROM pg_stat_wal_receiver')).length === 0);
    expect(await writeUpstream(b, address(a))).toEqual({ changed: true });
    await sql(b, 'SELECT pg_reload_conf()');
    await follows(b);
  });

  test('what the server would refuse is left out, once and loudly', async () => {
    const wrong: ServerSettings = {
      ...SETTINGS,
      parameters: { ...SETTINGS.parameters, wurk_mem: '8MB', work_mem: 'lots', maintenance_work_mem: '32MB' },
    };
    expect(await writeConfiguration(b, wrong)).toMatchObject({ changed: true });
    const text = await readFile(join(b.dataDir, 'postgresql.conf'), 'utf8');
    expect(text).toContain(`maintenance_work_mem = '32MB'`);
    expect(text).not.toMatch(/wurk_mem|^work_mem/m);
    expect(b.log.written.map((line) => line.sentence)).toEqual([
      expect.stringMatching(/wurk_mem.*unrecognized configuration parameter/),
      expect.stringMatching(/work_mem.*invalid value/),
    ]);
    expect(await writeConfiguration(b, wrong)).toMatchObject({ changed: false });
    expect(b.log.written).toHaveLength(2);
    expect(await exists(join(b.dataDir, 'pgha-trial.conf'))).toBe(false);
    expect(await writeConfiguration(b, SETTINGS)).toMatchObject({ changed: true });
  });

  test('recovery settings that somebody left in postgresql.auto.conf go, others stay', async () => {
    const path = join(b.dataDir, 'postgresql.auto.conf');
    await writeFile(
      path,
      `work_mem = '9MB'\nprimary_conninfo = 'host=elsewhere'\nprimary_slot_name='x'\nmax_connections = '3'\n`,
    );
    await ours(path);
    expect(await writeConfiguration(b, SETTINGS)).toMatchObject({ changed: true });
    expect(await readFile(path, 'utf8')).toBe(`work_mem = '9MB'\n`);
    await writeFile(path, '');
  });

  test('a standby is not started with less than its primary ran with', async () => {
    const less = { ...SETTINGS, parameters: { ...SETTINGS.parameters, max_connections: 25 } };
    await writeConfiguration(b, less);
    expect(await readFile(join(b.dataDir, 'postgresql.conf'), 'utf8')).toContain(`max_connections = '30'`);
    await setStandbySignal(b, false);
    expect(await writeConfiguration(b, less)).toMatchObject({ changed: true });
    await setStandbySignal(b, true);
    expect(await writeConfiguration(b, less)).toMatchObject({ changed: true });
    expect(b.log.written.at(-1)?.sentence).toMatch(/max_connections.*25.*30/);
  });

  test('lineage: of a primary and of a standby, and of nobody', async () => {
    const primary = await readLineage(b, address(a), millis(3_000));
    expect(primary).toMatchObject({ timeline: 1, history: [], inRecovery: false });
    expect(primary?.systemId).toBe((await readControlData(a)).systemId);
    expect(await readLineage(a, address(b), millis(3_000))).toMatchObject({ timeline: 1, inRecovery: true });
    expect(await readLineage(a, { name: 'x', host: '127.0.0.1', port: 1 }, millis(500))).toBeNull();
  });

  test('a crashed, diverged primary is rewound right after the promotion, when pg_rewind alone would see no need', async () => {
    await follows(b);
    await sql(b, `SELECT pg_wal_replay_pause()`);
    await sql(b, 'SELECT pg_wal_replay_resume()');
    // What b never gets: the link is cut by emptying its upstream, and a goes on writing.
    await writeUpstream(b, null);
    await sql(b, 'SELECT pg_reload_conf()');
    await until('the receiver is gone', async () => (await sql(b, 'SELECT 1 FROM pg_stat_wal_receiver')).length === 0);
    await sql(a, 'INSERT INTO t VALUES (-1)');
    const end = parseLsn(String(await one(a, 'SELECT pg_current_wal_flush_lsn()::text')));
    await sql(b, 'SELECT pg_promote(false)');
    await kill(a);
    await until('b is promoted', async () => (await one(b, 'SELECT pg_is_in_recovery()')) === false);
    await sql(b, 'INSERT INTO t VALUES (-2)');
    expect((await readControlData(a)).state).toBe('in production');

    const lineage = await readLineage(a, address(b), millis(3_000));
    expect(lineage).toMatchObject({ timeline: 2, inRecovery: false });
    expect(lineage?.history).toHaveLength(1);
    expect(await readHistoryFile(b, timeline(2))).toEqual(lineage?.history);
    expect(kinship({ timeline: timeline(1), end }, lineage ?? { timeline: timeline(1), history: [] }).kind).toBe(
      'diverged',
    );

    const told: string[] = [];
    const before = await readFile(join(a.dataDir, 'postgresql.base.conf'), 'utf8');
    await writeFile(join(a.dataDir, 'postgresql.base.conf'), `${before}\n# a's own\n`);
    await rewindFrom(a, address(b), SETTINGS, (sentence) => told.push(sentence), never);
    expect(await readMarker(a)).toBeNull();
    expect(await exists(join(a.dataDir, 'standby.signal'))).toBe(true);
    expect(await readFile(join(a.dataDir, 'postgresql.base.conf'), 'utf8')).toContain("# a's own");
    expect(await readFile(join(a.dataDir, 'postgresql.conf'), 'utf8')).toContain(`port = '${a.port}'`);
    await sql(b, `SELECT pg_create_physical_replication_slot('a', true)`);
    await start(a);
    await follows(a);
    await until('a has what b wrote', async () => (await one(a, 'SELECT count(*)::int FROM t WHERE n = -2')) === 1);
    expect(await one(a, 'SELECT count(*)::int FROM t WHERE n = -1')).toBe(0);
    expect(await one(a, 'SELECT received_tli FROM pg_stat_wal_receiver')).toBe(2);
    expect(told.some((sentence) => sentence.includes('rewinding'))).toBe(true);
  });

  test('a rewind is not started against a standby, a living directory or nobody, and changes nothing then', async () => {
    await expect(rewindFrom(a, address(b), SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_DATA_DIRECTORY_LOCKED',
    });
    await stop(a);
    const nowhere = { name: 'nowhere', host: '127.0.0.1', port: await freePort() };
    await expect(rewindFrom(a, nowhere, SETTINGS, quiet, never)).rejects.toMatchObject({ code: 'PGHA_REWIND_FAILED' });
    expect(await readMarker(a)).toBeNull();
    expect(await exists(join(a.dataDir, 'standby.signal'))).toBe(true);

    await start(a);
    await stop(b);
    await expect(rewindFrom(b, address(a), SETTINGS, quiet, never)).rejects.toThrow(/is in recovery/);
    expect(await readMarker(b)).toBeNull();
    expect(await exists(join(b.dataDir, 'standby.signal'))).toBe(false);
    await start(b);
  });

  test('a rewind that pg_rewind refuses before its first change leaves the directory startable', async () => {
    // Another cluster: different system identifiers are seen before anything is changed.
    const stranger = places.find((place) => place.config.node.name === 'again');
    expect(stranger).toBeDefined();
    if (stranger === undefined) return;
    await start(stranger);
    await kill(a);
    await expect(rewindFrom(a, address(stranger), SETTINGS, quiet, never)).rejects.toMatchObject({
      code: 'PGHA_REWIND_FAILED',
      message: expect.stringMatching(/different systems/),
    });
    expect(await readMarker(a)).toBeNull();
    expect(await exists(join(a.dataDir, 'standby.signal'))).toBe(true);
    await stop(stranger);
    await start(a);
    await stop(a);
  });

  test('a copy is cancelled within seconds, both of its processes with it', async () => {
    await wipeDirectory(a, unhindered, ANY);
    const cancel = new AbortController();
    const work = copyFrom(
      a,
      address(b),
      SETTINGS,
      (sentence) => sentence.startsWith('copying') && setTimeout(() => cancel.abort(), 30),
      cancel.signal,
    );
    await expect(work).rejects.toMatchObject({ code: 'PGHA_CANCELLED' });
    expect(await readMarker(a)).toMatchObject({ work: 'copy' });
    await copyFrom(a, address(b), SETTINGS, quiet, never);
  });

  test('a copy that outlived its daemon is ended before the next one begins', async () => {
    await wipeDirectory(a, unhindered, ANY);
    await setMarker(a, 'copy');
    const login = b.config.postgresql.authentication.replication;
    const slow = runCommand(
      a,
      'pg_basebackup',
      ['-D', a.dataDir, '-h', '127.0.0.1', '-p', String(b.port), '-U', login.username, '--max-rate=1M'],
      {
        env: { PGPASSFILE: join(a.runtimeDirectory, 'pgpass') },
      },
    );
    await until('it copies', () => exists(join(a.dataDir, 'base')));
    await copyFrom(a, address(b), SETTINGS, quiet, never);
    expect((await slow).code).not.toBe(0);
    expect((await readControlData(a)).systemId).toBe((await readControlData(b)).systemId);
  });

  test('a copy with tablespaces fills those that are mapped, and begins anew where it was interrupted', async () => {
    const theirs = await directory('space-of-b');
    const own = join(base, 'space-of-a');
    await sql(b, `CREATE TABLESPACE fast LOCATION '${theirs}'`);
    await sql(b, 'CREATE TABLE s (n int) TABLESPACE fast');
    const mapped = aConfig(
      { ...a.config.postgresql, basebackup: [`tablespace-mapping=${theirs}=${own}`, '--pgdata=/elsewhere'] },
      { name: 'a', runtimeDirectory: a.runtimeDirectory },
    );
    const place = { ...a, config: mapped };
    await wipeDirectory(place, unhindered, ANY);
    await copyFrom(place, address(b), SETTINGS, quiet, never);
    const [version] = await readdir(own);
    expect(version).toMatch(/^PG_15_/);
    expect(await readdir(theirs)).toEqual([version]);

    // Interrupted: the tablespace is filled, nothing in the data directory leads to it yet.
    await rm(place.dataDir, { recursive: true });
    await setMarker(place, 'copy', [own]);
    await copyFrom(place, address(b), SETTINGS, quiet, never);
    await wipeDirectory(place, unhindered, ANY);
    expect(await readdir(own)).toEqual([]);
    expect(await readdir(theirs)).toEqual([version]);
    await sql(b, 'DROP TABLE s');
    await sql(b, 'DROP TABLESPACE fast');
  });

  test.skipIf(process.getuid?.() !== 0)(
    'a directory is not emptied for a copy that would not fit into it then',
    async () => {
      const place = await node('narrow');
      const data = await directory('narrow', 'data');
      await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=100m', 'none', data]);
      try {
        await directory('narrow', 'data', 'base');
        await writeFile(join(data, 'PG_VERSION'), '15\n');
        const order = { systemId: null, source: address(b), signal: never };
        await expect(emptyForCopy(place, unhindered, order)).rejects.toMatchObject({
          code: 'PGHA_COPY_FAILED',
          message: expect.stringMatching(/has room for \d+ MB\. Nothing was removed/),
        });
        expect((await readdir(data)).sort()).toEqual(['PG_VERSION', 'base']);
        // It makes as much room as is missing.
        await writeFile(join(data, 'base', '1'), 'x');
        await truncate(join(data, 'base', '1'), 1 << 30);
        await emptyForCopy(place, unhindered, order);
        expect(await readdir(data)).toEqual([]);
        // Nobody says how much is needed.
        await writeFile(join(data, 'PG_VERSION'), '15\n');
        await emptyForCopy(place, unhindered, { ...order, source: { name: 'nowhere', host: '127.0.0.1', port: 1 } });
        expect(await readdir(data)).toEqual([]);
      } finally {
        await promisify(execFile)('umount', [data]);
      }
    },
  );
});

describe('files that were there before', () => {
  test('stay in force: the old configuration as the base, the old pg_hba.conf between our lines', async () => {
    const place = await node('adopted');
    const data = await directory('adopted', 'data');
    await writeFile(join(data, 'postgresql.conf'), `work_mem = '5MB'\nunix_socket_directories = '/tmp'\n`);
    await writeFile(join(data, 'pg_hba.conf'), 'local all all peer\nhost all all all md5\n');
    expect(await writeConfiguration(place, SETTINGS)).toMatchObject({ changed: true });
    expect(await readFile(join(data, 'postgresql.base.conf'), 'utf8')).toContain('5MB');
    expect(await readFile(join(data, 'postgresql.conf'), 'utf8')).toContain(
      `unix_socket_directories = '${place.socketDir}, /tmp'`,
    );
    const hba = await readFile(join(data, 'pg_hba.conf'), 'utf8');
    expect(hba).toContain('local all all peer\nhost all all all md5\n');
    // /tmp is for everybody: trust would be an open door.
    expect(hba).not.toContain('trust');
    expect(await readFile(join(data, 'pg_hba.base.conf'), 'utf8')).toBe('local all all peer\nhost all all all md5\n');
    expect(await writeConfiguration(place, SETTINGS)).toMatchObject({ changed: false });
    expect(place.log.written).toEqual([]);
  });

  test('are left alone where the old configuration keeps them elsewhere', async () => {
    const place = await node('elsewhere-kept');
    const data = await directory('elsewhere-kept', 'data');
    const hba = join(base, 'kept-hba.conf');
    await writeFile(hba, 'local all all peer\n');
    await writeFile(join(data, 'postgresql.conf'), `hba_file = '${hba}'\n`);
    await writeConfiguration(place, SETTINGS);
    expect(await readFile(hba, 'utf8')).toBe('local all all peer\n');
    expect(await readFile(join(data, 'postgresql.conf'), 'utf8')).not.toContain('hba_file');
    expect((await readdir(data)).sort()).toEqual(['postgresql.base.conf', 'postgresql.conf']);
  });
});

describe('emptying a directory', () => {
  test('is refused while Postgres lives there, at the top of the file system, and over what is no cluster', async () => {
    const b = places.find((place) => place.config.node.name === 'b');
    expect(b).toBeDefined();
    if (b === undefined) return;
    await expect(wipeDirectory(b, unhindered, ANY)).rejects.toMatchObject({ code: 'PGHA_DATA_DIRECTORY_LOCKED' });
    expect(await one(b, 'SELECT 1')).toBe(1);
    // A marker is no licence to end a server that runs.
    await setMarker(b, 'copy');
    await expect(wipeDirectory(b, unhindered, ANY)).rejects.toMatchObject({ code: 'PGHA_DATA_DIRECTORY_LOCKED' });
    await clearMarker(b);
    expect(await one(b, 'SELECT 1')).toBe(1);
    await stop(b);

    for (const dataDir of ['/', '/var']) {
      await expect(wipeDirectory({ ...b, dataDir }, unhindered, ANY)).rejects.toMatchObject({
        code: 'PGHA_DATA_DIRECTORY_FOREIGN',
      });
    }
    const foreign = await directory('foreign');
    await writeFile(join(foreign, 'precious'), 'x');
    await expect(wipeDirectory({ ...b, dataDir: foreign }, unhindered, ANY)).rejects.toMatchObject({
      code: 'PGHA_DATA_DIRECTORY_FOREIGN',
    });
    expect(await readdir(foreign)).toEqual(['precious']);
  });

  test('takes its tablespaces and a pg_wal elsewhere along, and nothing else that links lead to', async () => {
    const place = await node('wiped');
    const space = await directory('space');
    const wal = await directory('wal');
    const elsewhere = await directory('elsewhere');
    await directory('wiped', 'data', 'pg_tblspc');
    await directory('wiped', 'data', 'global');
    await mkdir(join(space, 'PG_15_202209061', '5'), { recursive: true });
    // Of another cluster, which shares this location.
    await mkdir(join(space, 'PG_14_202107181', '5'), { recursive: true });
    await writeFile(join(space, 'note'), 'x');
    await writeFile(join(wal, '000000010000000000000001'), 'x');
    await writeFile(join(wal, 'note'), 'x');
    await mkdir(join(elsewhere, 'PG_14_202107181'));
    await symlink(space, join(place.dataDir, 'pg_tblspc', '16400'));
    await symlink(elsewhere, join(place.dataDir, 'pg_tblspc', '16401'));
    await symlink(wal, join(place.dataDir, 'pg_wal'));
    await writeFile(join(place.dataDir, 'PG_VERSION'), '15\n');
    // Its caller looks once more immediately before the first file goes.
    const tooLate = async (): Promise<never> => {
      throw new Error('who leads is not known any more');
    };
    await expect(wipeDirectory(place, tooLate, ANY)).rejects.toThrow('who leads is not known any more');
    expect(await readdir(place.dataDir)).toContain('PG_VERSION');
    expect(await exists(markerPath(place))).toBe(false);
    await wipeDirectory(place, unhindered, ANY);
    expect(await readdir(place.dataDir)).toEqual([]);
    expect((await readdir(space)).sort()).toEqual(['PG_14_202107181', 'note']);
    expect(await readdir(wal)).toEqual(['note']);
    expect(await readdir(elsewhere)).toEqual(['PG_14_202107181']);
    expect(await exists(markerPath(place))).toBe(false);
  });
});

describe('a directory that is to be replaced by a copy is left alone', () => {
  /** @param systemId - of its control file; null: it has none that can be read */
  async function clusterAt(name: string, systemId: bigint | null): Promise<Place> {
    const place = await node(name);
    await directory(name, 'data', 'global');
    await writeFile(join(place.dataDir, 'PG_VERSION'), '15\n');
    const control = systemId === null ? 'of no server' : aControlFile(16 << 20, systemId);
    await writeFile(join(place.dataDir, 'global', 'pg_control'), control);
    return place;
  }
  const all = async (place: Place): Promise<readonly string[]> => (await readdir(place.dataDir)).sort();
  const EXPECTED = systemId('7');

  test('where it belongs to another cluster, whatever the marker says', async () => {
    const place = await clusterAt('mounted-wrong', 8n);
    const order = { systemId: EXPECTED, signal: never };
    const refused = { code: 'PGHA_DATA_DIRECTORY_FOREIGN', message: expect.stringMatching(/identifier 8,.* is 7/) };
    await expect(wipeDirectory(place, unhindered, order)).rejects.toMatchObject(refused);
    expect(await all(place)).toEqual(['PG_VERSION', 'global']);
    expect(await readMarker(place)).toBeNull();
    await setMarker(place, 'copy');
    await expect(wipeDirectory(place, unhindered, order)).rejects.toMatchObject(refused);
    expect(await all(place)).toEqual(['PG_VERSION', 'global']);
    await wipeDirectory(place, unhindered, { ...order, systemId: systemId('8') });
    expect(await all(place)).toEqual([]);
  });

  test('not where nothing says whose it is', async () => {
    for (const marked of [true, false]) {
      const place = await clusterAt(`half-${marked}`, null);
      if (marked) await setMarker(place, 'copy');
      await wipeDirectory(place, unhindered, { systemId: EXPECTED, signal: never });
      expect(await all(place)).toEqual([]);
    }
  });

  test('where the work was cancelled before the first file went', async () => {
    const place = await clusterAt('cancelled-in-time', 7n);
    const cancel = new AbortController();
    const looks: string[] = [];
    const wiping = wipeDirectory(place, async () => void looks.push('looked'), {
      systemId: EXPECTED,
      signal: cancel.signal,
    });
    cancel.abort(new Error('cancelled'));
    await expect(wiping).rejects.toThrow('cancelled');
    expect(looks).toEqual([]);
    expect(await all(place)).toEqual(['PG_VERSION', 'global']);
    expect(await readMarker(place)).toBeNull();
  });

  test('where it is the root of a file system, in which no copy can be made', async () => {
    const place = await clusterAt('root-of-a-mount', 7n);
    await directory('root-of-a-mount', 'data', 'lost+found');
    const refused = {
      code: 'PGHA_DATA_DIRECTORY_FOREIGN',
      message: expect.stringMatching(/lost\+found.*below the mount/),
    };
    const before = ['PG_VERSION', 'global', 'lost+found'];
    await expect(wipeDirectory(place, unhindered, ANY)).rejects.toMatchObject(refused);
    expect(await all(place)).toEqual(before);
    await setMarker(place, 'rewind');
    await expect(wipeDirectory(place, unhindered, ANY)).rejects.toMatchObject(refused);
    const source = { name: 'nowhere', host: '127.0.0.1', port: 1 };
    await expect(copyFrom(place, source, SETTINGS, quiet, never)).rejects.toMatchObject(refused);
    expect(await all(place)).toEqual(before);
    expect(await readMarker(place)).toMatchObject({ work: 'rewind' });
  });
});

describe('the marker and the signal file', () => {
  test('the marker stands beside the directory, and half of one still is one', async () => {
    const place = await node('marked');
    await setMarker(place, 'rewind');
    expect(markerPath(place)).toBe(`${place.dataDir}.pgha-unfinished`);
    expect(await readMarker(place)).toMatchObject({ work: 'rewind' });
    await writeFile(markerPath(place), '{"work": "rew');
    expect(await readMarker(place)).toMatchObject({ work: 'copy' });
    await clearMarker(place);
    expect(await readMarker(place)).toBeNull();
    await clearMarker(place);
  });

  test('one in the runtime directory is of a path on which nothing was mounted since; what stands there is left alone', async () => {
    const place = await node('mounted');
    const path = join(place.runtimeDirectory, 'unfinished');
    const { ino } = await stat(join(base, 'mounted'));
    const told = (parent: string) =>
      writeFile(path, JSON.stringify({ work: 'copy', data_directory: place.dataDir, parent }));
    await told(`${ino}`);
    await directory('mounted', 'data', 'global');
    expect(await readMarker(place)).toMatchObject({ work: 'copy' });
    expect((await readMarker(place))?.elsewhere).toBeUndefined();
    expect(await targetState(place)).toBe('half-made');
    await told(`${ino}0`);
    expect(await readMarker(place)).toMatchObject({ work: 'copy', elsewhere: true });
    expect(await targetState(place)).toBe('in use');
    await expect(wipeDirectory(place, unhindered, ANY)).rejects.toMatchObject({
      code: 'PGHA_DATA_DIRECTORY_FOREIGN',
    });
    expect(await readdir(place.dataDir)).toEqual(['global']);
  });

  test('one beside a link that led nowhere when the work began says nothing of what the link leads to now', async () => {
    const place = await node('linked-late');
    const volume = await directory('volume');
    await setMarker(place, 'copy');
    await symlink(volume, place.dataDir);
    await writeFile(join(volume, 'PG_VERSION'), '15\n');
    expect(await readMarker(place)).toMatchObject({ elsewhere: true });
    expect(await targetState(place)).toBe('in use');
    await clearMarker(place);
    expect(await readMarker(place)).toBeNull();
  });

  test('standby.signal comes and goes, belongs to the server’s user, and recovery.signal never stays', async () => {
    const place = await node('signal');
    await directory('signal', 'data');
    await writeFile(join(place.dataDir, 'recovery.signal'), '');
    await setStandbySignal(place, true);
    expect(await readdir(place.dataDir)).toEqual(['standby.signal']);
    if (runAs !== undefined) expect((await stat(join(place.dataDir, 'standby.signal'))).uid).toBe(runAs.uid);
    await setStandbySignal(place, false);
    expect(await readdir(place.dataDir)).toEqual([]);
  });
});

describe('commands', () => {
  test('keep their output, know their exit code, and are ended with everything they started', async () => {
    const place = await node('commands');
    const lines: string[] = [];
    const done = await runCommand(place, '/bin/sh', ['-c', 'cat; echo two >&2; exit 7'], {
      input: 'one\n',
      onLine: (line, from) => lines.push(`${from}: ${line}`),
    });
    expect(done).toMatchObject({ code: 7, stdout: 'one\n', stderr: 'two\n', endedBy: 'itself' });
    expect(lines.sort()).toEqual(['stderr: two', 'stdout: one']);

    const began = realClock.now();
    const late = await runCommand(place, '/bin/sh', ['-c', 'sleep 100 & echo $!; wait'], { limitMs: 200 });
    expect(late.endedBy).toBe('limit');
    expect(realClock.now() - began).toBeLessThan(5_000);
    expect(await exists(`/proc/${late.stdout.trim()}/exe`)).toBe(false);

    const quietOne = await runCommand(place, '/bin/sh', ['-c', 'echo a; sleep 100'], { quietLimitMs: 200 });
    expect(quietOne).toMatchObject({ endedBy: 'limit', stdout: 'a\n' });
    const stubborn = await runCommand(place, '/bin/sh', ['-c', 'trap "" TERM; while :; do sleep 1; done'], {
      limitMs: 100,
    });
    expect(stubborn.code).toBe(137);
    await expect(runCommand(place, 'no-such-program', [])).rejects.toMatchObject({ code: 'PGHA_POSTGRES_NOT_FOUND' });
  });

  test('hand on no secret of ours', async () => {
    const place = await node('environment');
    process.env['PGHA_POSTGRESQL_PASSWORD'] = 'x';
    process.env['PGHOST'] = 'elsewhere';
    const { stdout } = await runCommand(place, '/usr/bin/env', [], { env: { PGPASSFILE: '/p' } });
    delete process.env['PGHA_POSTGRESQL_PASSWORD'];
    delete process.env['PGHOST'];
    expect(stdout.split('\n').filter((line) => line.startsWith('PG'))).toEqual(['PGPASSFILE=/p']);
  });
});
