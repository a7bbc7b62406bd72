/** PgBouncer in front of a cluster, and pgbench through it: whether its clients saw an error, and for how long they waited. */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { postgresBinDir, which } from '../../../scripts/ensure.mjs';
import { runOn } from './client.ts';
import type { Cluster } from './cluster.ts';
import { launch, serverDirectory } from './launch.ts';
import type { Host } from './network.ts';
import { identify, type ProcessId, signal } from './processes.ts';
import { runDirectory } from './run.ts';
import { until } from './time.ts';

export const POOLER_PORT = 6432;

/** Where pgha writes for the pooler on the same host. */
export const databasesFileOf = (host: string): string =>
  join(serverDirectory(join(runDirectory, 'databases')), `${host}.ini`);

/** What each of these nodes has in its file, with a pooler on every one of them that leads to whoever leads. */
export const poolersInFile = (nodes: readonly string[], more: Readonly<Record<string, unknown>> = {}) => ({
  node: (name: string) => ({
    pgbouncer: {
      // As the test network gives addresses.
      poolers: nodes.map((_, at) => `10.77.0.${11 + at}:${POOLER_PORT}`),
      username: 'postgres',
      password: 'superuser-of-the-test',
      databases_file: databasesFileOf(name),
      ...more,
    },
  }),
});

/** One on each node of such a cluster; ready when each leads to the primary. */
export async function startPoolers(cluster: Cluster): Promise<ReadonlyMap<string, Pooler>> {
  const poolers = cluster.nodes.map((node) => new Pooler(cluster, node.host, `%include ${databasesFileOf(node.name)}`));
  await Promise.all(poolers.map((pooler) => pooler.leadsToPrimary()));
  return new Map(poolers.map((pooler) => [pooler.host.name, pooler]));
}

export class Pooler {
  readonly host: Host;
  readonly port: number;
  private readonly cluster: Cluster;
  private readonly directory: string;
  private child: ChildProcess | null = null;

  /** @param databases - lines of its section [databases], or `%include FILE` */
  constructor(cluster: Cluster, host: Host, databases: string, more = '') {
    this.cluster = cluster;
    this.host = host;
    this.port = host.port(POOLER_PORT);
    this.directory = serverDirectory(join(cluster.directory, `pgbouncer-${host.name}`));
    const { user, password } = this.login;
    writeFileSync(join(this.directory, 'users.txt'), `"${user}" "${password}"\n`);
    writeFileSync(
      this.config,
      `[pgbouncer]
logfile = ${join(this.directory, 'pgbouncer.log')}
pidfile = ${join(this.directory, 'pgbouncer.pid')}
listen_addr = ${host.address}
listen_port = ${this.port}
unix_socket_dir =
auth_type = md5
auth_file = ${join(this.directory, 'users.txt')}
admin_users = ${user}
pool_mode = transaction
max_client_conn = 200
default_pool_size = 20
server_login_retry = 1
${more}
${databases.startsWith('%include') ? databases : `[databases]\n${databases}`}
`,
    );
    this.start();
  }

  private get config(): string {
    return join(this.directory, 'pgbouncer.ini');
  }

  get address(): string {
    return `${this.host.address}:${this.port}`;
  }

  private get login() {
    const [first] = this.cluster.nodes;
    if (first === undefined) throw new Error('a cluster without nodes');
    const { user, password } = first.server;
    return { user, password };
  }

  start(): void {
    this.child = launch({
      host: this.host,
      program: which('pgbouncer') ?? 'pgbouncer',
      args: ['-q', this.config],
      log: join(this.directory, 'pgbouncer.out'),
      cwd: this.directory,
      asServer: true,
    });
  }

  private id(): ProcessId | null {
    return this.child?.pid === undefined ? null : identify(this.child.pid);
  }

  freeze(): void {
    const id = this.id();
    if (id !== null) signal(id, 'SIGSTOP');
  }

  thaw(): void {
    const id = this.id();
    if (id !== null) signal(id, 'SIGCONT');
  }

  kill(): void {
    const id = this.id();
    if (id !== null) signal(id, 'SIGKILL');
  }

  /** A statement through it, or to its console; from the client's host. @throws with what psql said */
  async ask(statement: string, database = 'postgres', limitSeconds = 10): Promise<string> {
    const { user, password } = this.login;
    const { code, stdout, stderr } = await runOn(this.cluster.network.host('client'), [
      'timeout',
      String(limitSeconds),
      'env',
      `PGPASSWORD=${password}`,
      which('psql') ?? 'psql',
      '-XAtq',
      '-v',
      'ON_ERROR_STOP=1',
      '-h',
      this.host.address,
      '-p',
      String(this.port),
      '-U',
      user,
      '-d',
      database,
      '-c',
      statement,
    ]);
    if (code !== 0) throw new Error(`${statement}: ${stderr}`);
    return stdout.trim();
  }

  leadsToPrimary(): Promise<unknown> {
    return until('the pooler leads to the primary', 20_000, () =>
      this.ask('SELECT pg_is_in_recovery()', 'postgres', 5).then(
        (answer) => answer === 'f',
        () => false,
      ),
    );
  }

  /**
   * Clients that write through it, beside whatever the test does, until they are ended.
   *
   * @param rate - transactions a second of all of them; null: as many as they can
   */
  async bench(clients = 8, rate: number | null = 400): Promise<Bench> {
    await this.ask(
      'CREATE TABLE IF NOT EXISTS through_pooler (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())',
    );
    const directory = serverDirectory(join(this.directory, `bench-${benches++}`), 0o777);
    const { user, password } = this.login;
    const script = join(directory, 'write.sql');
    writeFileSync(
      script,
      'BEGIN;\nINSERT INTO through_pooler DEFAULT VALUES;\nSELECT max(id) FROM through_pooler;\nCOMMIT;\n',
    );
    const program = join(postgresBinDir() ?? '', 'pgbench');
    const args = [
      '-n',
      '-f',
      script,
      '-c',
      String(clients),
      '-j',
      '2',
      '-T',
      '300',
      '-l',
      ...(rate === null ? [] : ['-R', String(rate)]),
    ];
    const place = ['-h', this.host.address, '-p', String(this.port), '-U', user, 'postgres'];
    const child = launch({
      host: this.cluster.network.host('client'),
      program,
      args: [...args, ...place],
      log: join(directory, 'pgbench.out'),
      cwd: directory,
      asServer: true,
      env: { PGPASSWORD: password },
    });
    return new Bench(child, directory);
  }
}

let benches = 0;

export interface BenchReport {
  /** null: it ran until it was told to end. */
  readonly code: number | null;
  readonly transactions: number;
  readonly errors: readonly string[];
  /** The longest that a client waited for one transaction, milliseconds. */
  readonly longestMs: number;
}

export class Bench {
  private readonly child: ChildProcess;
  private readonly ended: Promise<number | null>;
  private readonly directory: string;

  constructor(child: ChildProcess, directory: string) {
    this.child = child;
    this.directory = directory;
    this.ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)));
  }

  /** So many more transactions have to come through: also after something that stopped them. */
  async goesOn(transactions = 200): Promise<void> {
    const before = this.lines().length;
    await until('pgbench goes on', 30_000, () => this.lines().length > before + transactions);
  }

  /** Ends it. */
  async report(): Promise<BenchReport> {
    const id = this.child.pid === undefined ? null : identify(this.child.pid);
    if (id !== null) signal(id, 'SIGKILL');
    const code = await this.ended;
    const lines = this.lines();
    return {
      code,
      transactions: lines.length,
      errors: readFileSync(join(this.directory, 'pgbench.out'), 'utf8')
        .split('\n')
        .filter((line) => /error|aborted|fatal/i.test(line)),
      longestMs: Math.max(0, ...lines.map((line) => Number(line.split(' ')[2]) / 1_000)),
    };
  }

  /** One for each transaction; the newest may still be in the memory of pgbench. */
  private lines(): string[] {
    return readdirSync(this.directory)
      .filter((name) => name.startsWith('pgbench_log'))
      .flatMap((name) => readFileSync(join(this.directory, name), 'utf8').split('\n').slice(0, -1));
  }
}
