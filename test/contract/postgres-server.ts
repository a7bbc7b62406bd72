/**
 * Real Postgres directories for tests, each with the adapter that is tested in front of it: on free loopback ports, in
 * a directory of their own, ended by process id and removed at the end, also after a failure.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import type { LocalPostgres } from '../../src/core/local.ts';
import { type Millis, millis } from '../../src/core/time.ts';
import type { EventLog } from '../../src/ports/event-log.ts';
import type { ServerAddress, ServerSettings } from '../../src/ports/postgres.ts';
import { familyOf, signalProcess } from '../../src/postgres/family.ts';
import { PostgresInstance } from '../../src/postgres/instance.ts';
import { SystemClock } from '../../src/system/clock.ts';
import { systemRandom } from '../../src/system/random.ts';
import { removeSharedMemory } from '../shared-memory.ts';

const run = promisify(execFile);

/** Postgres refuses to run as root, and its directory has to be its own user's: so the whole test process is that user. */
export function becomePostgres(): void {
  if (process.getuid?.() !== 0) return;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'));
  const [, , uid, gid] = (line ?? '').split(':').map(Number);
  if (uid === undefined || gid === undefined) throw new Error('there is no user postgres on this machine');
  (process as { initgroups?: (user: string, group: number) => void }).initgroups?.('postgres', gid);
  process.setgid?.(gid);
  process.setuid?.(uid);
  process.env['HOME'] = tmpdir();
}

export const SETTINGS: ServerSettings = {
  parameters: { wal_retrieve_retry_interval: '100ms', shared_buffers: '16MB', max_connections: 20 },
  recoveryConf: {},
  pgHba: null,
  pgIdent: null,
  usePgRewind: false,
  useSlots: false,
  logicalSlots: false,
  synchronous: false,
};

export interface TestServer {
  readonly name: string;
  readonly instance: PostgresInstance;
  readonly config: Config;
  readonly dataDir: string;
  readonly port: number;
  readonly address: ServerAddress;
  /** What the adapter wrote to the log. */
  readonly told: readonly { readonly event: string; readonly sentence: string }[];
  /** Of a connection that is closed by {@link PostgresServers.end}, or earlier. */
  connect(user?: string): Promise<pg.Client>;
  sql(text: string): Promise<readonly Record<string, unknown>[]>;
  look(limit?: Millis): Promise<LocalPostgres>;
  /** Looks until it is of this kind (and `when` holds); fails with what it was last. */
  until<K extends LocalPostgres['kind']>(
    kind: K,
    when?: (local: Extract<LocalPostgres, { kind: K }>) => boolean,
  ): Promise<Extract<LocalPostgres, { kind: K }>>;
}

export type OwnSettings = Readonly<Record<string, unknown>>;

export interface PostgresServers {
  readonly directory: string;
  /**
   * With an absent data directory.
   *
   * @param postgresql - more settings of that section of its file
   * @param bootstrap - that section
   */
  add(name: string, postgresql?: OwnSettings, bootstrap?: OwnSettings): Promise<TestServer>;
  /** A stopped, cleanly initialised cluster. */
  addCluster(name: string, postgresql?: OwnSettings): Promise<TestServer>;
  /** A stopped copy of a running server. */
  addCopy(name: string, of: TestServer, postgresql?: OwnSettings): Promise<TestServer>;
  end(): Promise<void>;
}

/** On tmpfs where there is one: these tests are about a server, not about the speed of disks. */
const newDirectory = (): Promise<string> => mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pgha-pg-'));

/** What each cluster of a test file is a copy of; made once, as initdb takes longer than most tests. */
let template: Promise<string> | null = null;

async function makeTemplate(): Promise<string> {
  const directory = await newDirectory();
  const dataDir = join(directory, 'template');
  await tool('initdb', ['-D', dataDir, '-U', 'postgres', '--auth=trust', '--no-sync', '-E', 'UTF8']);
  // POSIX segments outlive a server that is killed, and nothing says whose they were.
  await appendFile(join(dataDir, 'postgresql.conf'), "dynamic_shared_memory_type = 'mmap'\n");
  return directory;
}

afterAll(async () => {
  if (template !== null) await rm(await template, { recursive: true, force: true });
});

export async function postgresServers(): Promise<PostgresServers> {
  const directory = await newDirectory();
  const servers: TestServer[] = [];
  const connections: pg.Client[] = [];

  const add: PostgresServers['add'] = async (name, postgresql = {}, bootstrap = {}) => {
    const server = await testServer(directory, name, connections, postgresql, bootstrap);
    servers.push(server);
    return server;
  };

  return {
    directory,
    add,
    async addCluster(name, postgresql) {
      const server = await add(name, postgresql);
      template ??= makeTemplate();
      await cp(join(await template, 'template'), server.dataDir, { recursive: true });
      return server;
    },
    async addCopy(name, of, postgresql) {
      const server = await add(name, postgresql);
      const from = ['-h', '127.0.0.1', '-p', String(of.port), '-U', 'postgres'];
      await tool('pg_basebackup', ['-D', server.dataDir, ...from, '-c', 'fast', '-X', 'stream', '--no-sync']);
      return server;
    },
    async end() {
      for (const connection of connections) void connection.end().catch(() => undefined);
      for (const server of servers) {
        server.instance.close();
        // SIGKILL, also to what a test has stopped with SIGSTOP.
        for (let i = 0; i < 200 && familyOf(server).length > 0; i++) {
          for (const member of familyOf(server)) signalProcess(member, 'SIGKILL');
          await sleep(10);
        }
      }
      removeSharedMemory(directory);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function testServer(
  directory: string,
  name: string,
  connections: pg.Client[],
  postgresql: OwnSettings,
  bootstrap: OwnSettings,
): Promise<TestServer> {
  const dataDir = join(directory, name);
  const runtime = join(directory, `${name}-run`);
  await mkdir(runtime, { mode: 0o700 });
  const port = await freePort();
  const config = loadConfig({
    path: 'pgha.yml',
    env: {},
    readFile: () => configFile(name, dataDir, runtime, port, postgresql, bootstrap),
  }).config;
  const clock = new SystemClock();
  const told: { event: string; sentence: string }[] = [];
  const log: EventLog = { write: (_, event, sentence) => void told.push({ event, sentence }) };
  const instance = new PostgresInstance({ config, log, clock, random: systemRandom() });
  const connect = async (user = 'postgres'): Promise<pg.Client> => {
    const client = new pg.Client({ host: '127.0.0.1', port, user, database: 'postgres' });
    client.on('error', () => undefined);
    connections.push(client);
    await client.connect();
    return client;
  };
  const look = (limit: Millis = millis(1_000)): Promise<LocalPostgres> => instance.look(limit);
  return {
    name,
    instance,
    config,
    dataDir,
    port,
    address: { name, host: '127.0.0.1', port },
    told,
    connect,
    async sql(text) {
      const client = await connect();
      try {
        return (await client.query<Record<string, unknown>>(text)).rows;
      } finally {
        await client.end();
      }
    },
    look,
    async until(kind, when = () => true) {
      const giveUp = clock.now() + 20_000;
      for (;;) {
        const local = await look();
        type Wanted = Extract<LocalPostgres, { kind: typeof kind }>;
        if (local.kind === kind && when(local as Wanted)) return local as Wanted;
        if (clock.now() > giveUp) {
          const shown = JSON.stringify(local, (_, value) => (typeof value === 'bigint' ? String(value) : value));
          throw new Error(`${name} did not become ${kind}; it is ${shown}`);
        }
        await sleep(10);
      }
    },
  };
}

function configFile(
  name: string,
  dataDir: string,
  runtime: string,
  port: number,
  postgresql: OwnSettings,
  bootstrap: OwnSettings,
): string {
  return JSON.stringify({
    scope: 'contract',
    name,
    etcd3: { hosts: ['127.0.0.1:2379'] },
    restapi: { listen: '127.0.0.1:8008', connect_address: '127.0.0.1:8008' },
    runtime_directory: runtime,
    bootstrap,
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${port}`,
      data_dir: dataDir,
      authentication: { superuser: { username: 'postgres' }, replication: { username: 'postgres' } },
      ...postgresql,
    },
  });
}

/** Beside the server that the adapter finds, so that both are of the same version. */
async function tool(program: string, args: readonly string[]): Promise<void> {
  const newest = (await readdir('/usr/lib/postgresql')).map(Number).sort((a, b) => b - a)[0];
  await run(`/usr/lib/postgresql/${newest}/bin/${program}`, [...args], { timeout: 60_000 });
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
