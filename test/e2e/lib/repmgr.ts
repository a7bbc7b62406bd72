/**
 * A cluster as Debian's repmgr makes it: a primary and standbys cloned from it, each with repmgrd, on the hosts of a test
 * cluster whose own daemons do not run yet. Everything is done with repmgr's own commands.
 */
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, chownSync, cpSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { postgresBinDir, which } from '../../../scripts/ensure.mjs';
import { type CommandResult, runOn } from './client.ts';
import type { Cluster, Node } from './cluster.ts';
import { environment, launch, serverDirectory, stepDown } from './launch.ts';
import { identify, signal } from './processes.ts';
import { serverAccount } from './run.ts';
import { until } from './time.ts';

export const withRepmgr = existsSync(join(postgresBinDir() ?? '', 'repmgrd'));

export class RepmgrCluster {
  readonly #cluster: Cluster;
  readonly #daemons = new Map<string, ChildProcess>();

  /** Debian's: the configuration stands beside the data, in a directory of its own. */
  readonly #configBeside: boolean;

  constructor(cluster: Cluster, options: { readonly configBeside?: boolean } = {}) {
    this.#cluster = cluster;
    this.#configBeside = options.configBeside === true;
  }

  static configFile = (node: Node): string => join(node.directory, 'repmgr.conf');
  static log = (node: Node): string => join(node.directory, 'repmgrd.log');

  /** Three nodes that stream, with slots, and repmgrd on each. */
  async start(): Promise<void> {
    const [first, ...others] = this.#cluster.nodes;
    if (first === undefined) throw new Error('a cluster without nodes');
    for (const node of this.#cluster.nodes) this.#configure(node);
    await this.#run(first, ['initdb', '-D', first.dataDir, '-k', '-E', 'UTF8', '-A', 'trust', '-U', 'postgres', '-N']);
    appendFileSync(join(first.dataDir, 'pg_hba.conf'), 'host all all all trust\nhost replication all all trust\n');
    appendFileSync(join(first.dataDir, 'postgresql.conf'), POSTGRESQL);
    if (this.#configBeside) {
      for (const node of this.#cluster.nodes) copyConfig(first.dataDir, node);
      for (const name of CONFIG) rmSync(join(first.dataDir, name));
    }
    await this.startPostgres(first);
    await this.#run(first, ['createuser', '-h', first.socketDirectory, '-U', 'postgres', '-s', 'repmgr']);
    await this.#run(first, ['createdb', '-h', first.socketDirectory, '-U', 'postgres', '-O', 'repmgr', 'repmgr']);
    await this.repmgr(first, ['primary', 'register']);
    await Promise.all(others.map((node) => this.#clone(node, first)));
    for (const node of this.#cluster.nodes) this.startDaemon(node);
  }

  async #clone(node: Node, from: Node): Promise<void> {
    const source = ['-h', from.host.address, '-p', String(from.pgPort), '-U', 'repmgr', '-d', 'repmgr'];
    await this.repmgr(node, [...source, 'standby', 'clone', '--fast-checkpoint']);
    await this.startPostgres(node);
    await this.repmgr(node, ['standby', 'register', '--wait-sync=10']);
  }

  /** What differs between the nodes is said on the command line, as Debian's scripts name the configuration file. */
  startPostgres(node: Node): Promise<CommandResult> {
    const file = this.#configBeside ? ` -c config_file=${join(configBeside(node), 'postgresql.conf')}` : '';
    const options = `-c unix_socket_directories=${node.socketDirectory} -c port=${node.pgPort}${file}`;
    return this.#run(node, [
      'pg_ctl',
      '-D',
      node.dataDir,
      '-w',
      '-l',
      join(node.directory, 'postgres.log'),
      '-o',
      options,
      'start',
    ]);
  }

  /** @throws unless it ends with 0 */
  repmgr(node: Node, args: readonly string[]): Promise<CommandResult> {
    return this.#run(node, ['repmgr', '-f', RepmgrCluster.configFile(node), ...args]);
  }

  /** What its operator does after a failover: repmgr brings no old primary back by itself. */
  async startPostgresAgain(node: Node, primary: Node): Promise<void> {
    const source = `host=${primary.host.address} port=${primary.pgPort} user=repmgr dbname=repmgr`;
    // Recovers what a kill left behind, and ends in order.
    await this.#run(node, ['postgres', '--single', '-D', node.dataDir, 'postgres']);
    await this.repmgr(node, ['node', 'rejoin', '-d', source, '--force-rewind', '--no-wait']);
    await this.repmgr(node, ['standby', 'register', '-F', '--wait-start=30']);
  }

  /** By hand, past everybody. */
  promote(node: Node): Promise<CommandResult> {
    return this.#run(node, ['pg_ctl', '-D', node.dataDir, '-w', 'promote']);
  }

  startDaemon(node: Node): void {
    const child = launch({
      host: node.host,
      program: which('repmgrd') ?? 'repmgrd',
      args: ['-f', RepmgrCluster.configFile(node), '--daemonize=false', '--no-pid-file'],
      log: RepmgrCluster.log(node),
      cwd: node.directory,
      asServer: true,
    });
    this.#daemons.set(node.name, child);
  }

  /** As `systemctl disable --now repmgrd`. */
  async stopDaemon(node: Node): Promise<void> {
    const pid = this.#daemons.get(node.name)?.pid;
    const id = pid === undefined ? null : identify(pid);
    if (id !== null) signal(id, 'SIGTERM');
    await until(`repmgrd on ${node.name} has ended`, 20_000, () => pid === undefined || identify(pid) === null);
    this.#daemons.delete(node.name);
  }

  async stop(): Promise<void> {
    for (const node of this.#cluster.nodes) await this.stopDaemon(node);
  }

  #configure(node: Node): void {
    for (const sub of ['socket', 'run']) serverDirectory(join(node.directory, sub), 0o755);
    const id = node.name.slice(1);
    writeFileSync(
      RepmgrCluster.configFile(node),
      `node_id=${id}
node_name='${node.name}'
conninfo='host=${node.host.address} port=${node.pgPort} user=repmgr dbname=repmgr connect_timeout=2'
data_directory='${node.dataDir}'
pg_bindir='${postgresBinDir()}'
${this.#configBeside ? `config_directory='${configBeside(node)}'\n` : ''}use_replication_slots=yes
failover=automatic
promote_command='/usr/bin/repmgr standby promote -f ${RepmgrCluster.configFile(node)}'
follow_command='/usr/bin/repmgr standby follow -f ${RepmgrCluster.configFile(node)} --upstream-node-id=%n'
monitor_interval_secs=1
reconnect_attempts=2
reconnect_interval=1
`,
    );
  }

  async #run(node: Node, [program = '', ...args]: readonly string[]): Promise<CommandResult> {
    const path = `${postgresBinDir()}:${environment(node.name)['PATH'] ?? ''}`;
    const result = await runOn(node.host, [...stepDown(true), program, ...args], {
      timeoutMs: 60_000,
      cwd: node.directory,
      env: environment(node.name, { PATH: path }),
    });
    if (result.code !== 0)
      throw new Error(
        `${program} ${args.join(' ')} on ${node.name} ended with ${result.code}: ${result.stdout}${result.stderr}`,
      );
    return result;
  }
}

const CONFIG = ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'];
const configBeside = (node: Node): string => join(node.directory, 'etc');

function copyConfig(from: string, node: Node): void {
  const to = serverDirectory(configBeside(node));
  for (const name of CONFIG) cpSync(join(from, name), join(to, name));
  const at = (name: string): string => join(to, name);
  appendFileSync(
    at('postgresql.conf'),
    `data_directory = '${node.dataDir}'\nhba_file = '${at('pg_hba.conf')}'\nident_file = '${at('pg_ident.conf')}'\n`,
  );
  const account = serverAccount();
  if (account !== null) for (const name of CONFIG) chownSync(at(name), account.uid, account.gid);
}

/** max_connections is not what pgha would set: it has to be taken over. */
const POSTGRESQL = `
listen_addresses = '*'
shared_preload_libraries = 'repmgr'
max_connections = 60
wal_keep_size = '160MB'
fsync = off
dynamic_shared_memory_type = mmap
shared_buffers = '32MB'
`;
