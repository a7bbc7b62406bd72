/**
 * A whole cluster: etcd, nodes with the built daemon, and a client, on hosts of a test network. It starts them, does
 * harm to them, asks them, and at the end says whether the two promises held: never two writers, no acknowledged row
 * lost. It knows nothing about how the daemon works inside; it goes by processes, SQL, HTTP and pgha-ctl.
 */
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { postgresBinDir, which } from '../../../scripts/ensure.mjs';
import { Client, type CommandResult, repository, runOn } from './client.ts';
import type { HttpAnswer, Server } from './client-messages.ts';
import { Daemon } from './daemon.ts';
import { type Etcd, type PublishedEtcd, startEtcd } from './etcd.ts';
import { nodeForServer, serverDirectory, stepDown } from './launch.ts';
import {
  type Accepted,
  judge,
  longestPause,
  overlaps,
  type Pause,
  type Verdict,
  type WriterReport,
  writerOf,
} from './ledger.ts';
import { createNamespaces, type Host, type Network } from './network.ts';
import { allProcesses, commandLine, type ProcessId, postgresFamily, postmasterOf, signal } from './processes.ts';
import { openRun, runDirectory, serverAccount } from './run.ts';
import { monotonic, sleep, until } from './time.ts';

export interface ClusterOptions {
  /** How many nodes; h1, h2, ... */
  readonly nodes?: number;
  /** Standbys may stream from other standbys: `node` says which. */
  readonly cascade?: boolean;
  /** A node without Postgres besides, w1. */
  readonly witness?: boolean;
  /** Nodes that are not started at first. */
  readonly notStarted?: readonly string[];
  readonly etcdMembers?: 1 | 3;
  readonly etcdArgs?: readonly string[];
  /** etcd's members on the database hosts instead of hosts of their own. */
  readonly etcdOnNodes?: boolean;
  /** Seconds. */
  readonly ttl?: number;
  readonly loopWait?: number;
  readonly retryTimeout?: number;
  /** Over the cluster-wide settings at bootstrap. */
  readonly dcs?: Readonly<Record<string, unknown>>;
  /** Over the configuration file of one node. */
  readonly node?: (name: string) => Readonly<Record<string, unknown>>;
  /**
   * Which program each node runs at first; with this, every node has one file of Patroni's, nothing of ours in it, for
   * both. `Node.run` changes the program.
   */
  readonly program?: (name: string) => Program;
  /** Over the environment of one node's daemon, and so of all that it starts. */
  readonly env?: (name: string) => Readonly<Record<string, string>>;
  /** What the daemons may do although they are not root: `net_admin`. */
  readonly capabilities?: readonly string[];
  /** Postgres parameters of every node. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  readonly fsync?: boolean;
  readonly scope?: string;
  /** Made by the caller, for the loopback; otherwise namespaces. It needs the hosts of `hostNames`. */
  readonly network?: Network;
  /** Where in the run's directory; for readable paths in the demo. */
  readonly directory?: string;
  /** Every node has a copy of the programs of its own, in `programs` of its directory, which a test may change. */
  readonly ownPrograms?: boolean;
  /** Leaves out TTL and timings, so that the daemon's own defaults count. */
  readonly defaults?: boolean;
  /** Don't wait for a primary and streaming standbys. */
  readonly dontWait?: boolean;
  /** Machines and files as somebody else has published them: nothing of what stands above is added to these. */
  readonly published?: Published;
}

/** What a page on the net says to set up: the names of the machines, and the text of each file. */
export interface Published {
  /** The nodes, one after the other: name -> address. Each carries a member of etcd too. */
  readonly nodes: Readonly<Record<string, string>>;
  /** Further machines. */
  readonly others: Readonly<Record<string, string>>;
  readonly etcd: PublishedEtcd;
  /** The file that the daemon reads. */
  readonly file: (node: Node) => string;
  readonly superuser: { readonly username: string; readonly password: string };
}

export type Program = 'pgha' | 'patroni';

/** The hosts a cluster of this shape needs. */
export function hostNames(options: ClusterOptions = {}): string[] {
  if (options.published !== undefined)
    return [...Object.keys(options.published.nodes), ...Object.keys(options.published.others), 'client'];
  const nodes = Array.from({ length: options.nodes ?? 3 }, (_, i) => `h${i + 1}`);
  const etcd =
    options.etcdOnNodes === true ? [] : Array.from({ length: options.etcdMembers ?? 1 }, (_, i) => `e${i + 1}`);
  return [...nodes, ...(options.witness === true ? ['w1'] : []), ...etcd, 'client'];
}

/** The daemon's own default, in seconds. */
const DEFAULT_TTL = 10;

/** Postgres' own name where root steps down to it, else the one who runs this: `peer` compares the two. */
const SUPERUSER = { username: serverAccount()?.name ?? userInfo().username, password: 'superuser-of-the-test' };
const REPLICATION = { username: 'replicator', password: 'replicator-of-the-test' };
const REWIND = { username: 'rewinder', password: 'rewinder-of-the-test' };

export class Node {
  readonly name: string;
  readonly host: Host;
  readonly directory: string;
  readonly dataDir: string;
  readonly configFile: string;
  readonly log: string;
  /** Which program its service runs. */
  program: Program;
  private readonly daemons: Readonly<Record<Program, Daemon>>;
  readonly pgPort: number;
  readonly apiPort: number;
  readonly socketDirectory: string;
  private readonly login: Pick<Server, 'user' | 'password' | 'database'>;

  constructor(
    name: string,
    host: Host,
    directory: string,
    program: string,
    env: Readonly<Record<string, string>> = {},
    first: Program | null = null,
    superuser = SUPERUSER,
    capabilities: readonly string[] = [],
  ) {
    this.name = name;
    this.host = host;
    this.login = { user: superuser.username, password: superuser.password, database: 'postgres' };
    this.directory = directory;
    this.dataDir = join(directory, 'data');
    this.configFile = join(directory, first === null ? 'pgha.yml' : 'patroni.yml');
    this.log = join(directory, 'daemon.log');
    this.pgPort = host.port(5432);
    this.apiPort = host.port(8008);
    this.socketDirectory = join(directory, 'socket');
    this.program = first ?? 'pgha';
    const both = { host, config: this.configFile, log: this.log, cwd: directory, capabilities };
    const forPgha = first === null ? env : { PGHA_RUNTIME_DIRECTORY: join(directory, 'run'), ...env };
    this.daemons = {
      pgha: new Daemon({ ...both, program, env: forPgha }),
      patroni: new Daemon({ ...both, program: which('patroni') ?? 'patroni', env }),
    };
  }

  /** The daemon of the program that its service runs. */
  get daemon(): Daemon {
    return this.daemons[this.program];
  }

  killDaemons(): void {
    for (const daemon of Object.values(this.daemons)) daemon.killForGood();
  }

  get url(): string {
    return `http://${this.host.address}:${this.apiPort}`;
  }

  /** Over the network. */
  get server(): Server {
    return { ...this.login, name: this.name, host: this.host.address, port: this.pgPort };
  }

  /** Over the unix socket, which no cut link touches. */
  get local(): Server {
    return { ...this.login, name: this.name, host: this.socketDirectory, port: this.pgPort };
  }

  postmaster(): ProcessId | null {
    return postmasterOf(this.dataDir);
  }

  family(): ProcessId[] {
    return postgresFamily(this.dataDir);
  }

  guard(): ProcessId | null {
    const run = join(this.directory, 'run');
    return (
      allProcesses().find((id) => {
        const words = commandLine(id);
        return words.includes(run) && words.some((word) => word.endsWith('/guard.js'));
      }) ?? null
    );
  }

  logText(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8') : '';
  }
}

export class Cluster {
  readonly scope: string;
  readonly network: Network;
  readonly etcd: Etcd;
  readonly nodes: readonly Node[];
  readonly witness: Node | null;
  private readonly cascade: boolean;
  readonly client: Client;
  readonly directory: string;
  readonly ttlMs: number;
  private readonly watcher: Client;
  private readonly clientHost: Host;
  private readonly published: boolean;
  /** Where the built programs are, readable by those who run them. */
  readonly dist: string;

  private constructor(parts: {
    scope: string;
    network: Network;
    etcd: Etcd;
    nodes: readonly Node[];
    witness: Node | null;
    cascade: boolean;
    client: Client;
    watcher: Client;
    directory: string;
    ttlMs: number;
    dist: string;
    published: boolean;
  }) {
    this.scope = parts.scope;
    this.network = parts.network;
    this.etcd = parts.etcd;
    this.nodes = parts.nodes;
    this.witness = parts.witness;
    this.cascade = parts.cascade;
    this.client = parts.client;
    this.watcher = parts.watcher;
    this.directory = parts.directory;
    this.ttlMs = parts.ttlMs;
    this.dist = parts.dist;
    this.clientHost = parts.network.host('client');
    this.published = parts.published;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    openRun();
    const dist = copyDist();
    const directory = options.directory ?? mkdtempSync(join(runDirectory, 'c'));
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o755);
    const names = hostNames(options);
    const { published } = options;
    const network =
      options.network ??
      createNamespaces(names, published === undefined ? {} : { ...published.nodes, ...published.others });
    const nodeNames =
      published === undefined ? names.filter((name) => /^h\d+$/.test(name)) : Object.keys(published.nodes);
    const etcdHosts =
      published !== undefined
        ? nodeNames
        : options.etcdOnNodes === true
          ? nodeNames.slice(0, options.etcdMembers ?? 1)
          : names.filter((n) => /^e\d+$/.test(n));
    const etcd = await startEtcd(network, etcdHosts, 'client', directory, options.etcdArgs, published?.etcd);
    const nodeOn = (name: string): Node => {
      const place = serverDirectory(join(directory, name), 0o755);
      const programs = options.ownPrograms === true ? join(place, 'programs') : dist;
      if (programs !== dist) cpSync(dist, programs, { recursive: true });
      const first = options.program?.(name) ?? null;
      const own = published === undefined ? {} : publishedEnvironment(place);
      const env = { ...own, ...options.env?.(name) };
      const host = network.host(name);
      const program = join(programs, 'pgha.js');
      return new Node(name, host, place, program, env, first, published?.superuser, options.capabilities);
    };
    const nodes = nodeNames.map(nodeOn);
    const witness = options.witness === true ? nodeOn('w1') : null;
    const clientHost = network.host('client');
    const cluster = new Cluster({
      scope: options.scope ?? 'e2e',
      network,
      etcd,
      nodes,
      witness,
      cascade: options.cascade === true,
      client: await Client.start(clientHost, 'client'),
      watcher: await Client.start(clientHost, 'watcher'),
      directory,
      ttlMs: (options.ttl ?? (options.defaults === true || options.program !== undefined ? DEFAULT_TTL : 5)) * 1_000,
      dist,
      published: published !== undefined,
    });
    nodes.forEach((node, index) => {
      if (published !== undefined) cluster.configureAsPublished(node, published);
      else if (options.program === undefined) cluster.configure(node, options, index);
      else cluster.configureAsPatroni(node, options);
    });
    if (witness !== null) cluster.configureWitness(witness, options);
    witness?.daemon.start();
    for (const node of nodes) if (options.notStarted?.includes(node.name) !== true) node.daemon.start();
    if (options.dontWait !== true) {
      try {
        await cluster.waitForPrimary(60_000);
        await cluster.prepare();
        await cluster.waitAllStreaming(
          60_000,
          nodes.filter((n) => options.notStarted?.includes(n.name) !== true),
        );
      } catch (error) {
        const explained = cluster.explain(error);
        await cluster.destroy();
        throw explained;
      }
    }
    return cluster;
  }

  private configure(node: Node, options: ClusterOptions, index: number): void {
    for (const sub of ['socket', 'run']) serverDirectory(join(node.directory, sub), 0o755);
    const seconds = {
      ttl: options.ttl ?? 5,
      loop_wait: options.loopWait ?? 1,
      retry_timeout: options.retryTimeout ?? 1,
    };
    const base = {
      scope: this.scope,
      name: node.name,
      node_id: index + 1,
      runtime_directory: join(node.directory, 'run'),
      restapi: {
        listen: `${node.host.address}:${node.apiPort}`,
        connect_address: `${node.host.address}:${node.apiPort}`,
      },
      etcd3: { hosts: this.etcd.endpoints.map((endpoint) => endpoint.replace('http://', '')) },
      bootstrap: {
        dcs: merge(
          {
            ...(options.defaults === true ? {} : seconds),
            postgresql: { use_pg_rewind: true, parameters: { max_connections: 50 } },
          },
          options.dcs ?? {},
        ),
        initdb: [{ encoding: 'UTF8' }, 'data-checksums'],
      },
      postgresql: {
        listen: `${node.host.address}:${node.pgPort}`,
        connect_address: `${node.host.address}:${node.pgPort}`,
        data_dir: node.dataDir,
        unix_socket_directory: node.socketDirectory,
        bin_dir: postgresBinDir(),
        pgpass: join(node.directory, 'pgpass'),
        authentication: { superuser: SUPERUSER, replication: REPLICATION, rewind: REWIND },
        pg_hba: PG_HBA,
        parameters: {
          fsync: options.fsync === true ? 'on' : 'off',
          // Files in the data directory instead of /dev/shm, where a killed server would leave them behind.
          dynamic_shared_memory_type: 'mmap',
          shared_buffers: '32MB',
          ...options.parameters,
        },
      },
    };
    writeFileSync(
      node.configFile,
      stringify(merge(base, options.node?.(node.name) ?? {}), { aliasDuplicateObjects: false }),
    );
    const account = serverAccount();
    chmodSync(node.configFile, account === null ? 0o600 : 0o644);
  }

  private configureAsPublished(node: Node, published: Published): void {
    for (const sub of ['socket', 'run']) serverDirectory(join(node.directory, sub), 0o755);
    writeFileSync(node.configFile, published.file(node));
    chmodSync(node.configFile, serverAccount() === null ? 0o600 : 0o644);
  }

  /**
   * What somebody has who runs Debian's patroni: the file that its package makes, with the addresses, passwords and
   * times of the test, and a directory for the configuration beside the data, which Debian's own scripts would make.
   */
  private configureAsPatroni(node: Node, options: ClusterOptions): void {
    for (const sub of ['socket', 'run']) serverDirectory(join(node.directory, sub), 0o755);
    const script = (name: string, text: string): string => {
      const path = join(node.directory, name);
      writeFileSync(path, `#!/bin/sh\nset -e\n${DEBIAN_ARGUMENTS}${text}`, { mode: 0o755 });
      return path;
    };
    const config = join(node.directory, 'etc');
    const make = `mkdir -p ${config} && cd "$datadir" && mv postgresql.conf pg_hba.conf pg_ident.conf ${config}/
      printf "data_directory = '%s'\\nhba_file = '%s'\\nident_file = '%s'\\n" "$datadir" ${config}/pg_hba.conf ${config}/pg_ident.conf >> ${config}/postgresql.conf\n`;
    const bin = postgresBinDir();
    const base = parse(debianFile(node, this.etcd.endpoints));
    const over = {
      scope: this.scope,
      namespace: '/service/',
      bootstrap: {
        pg_createcluster: { command: script('create.sh', `${bin}/initdb -D "$datadir" -k -E UTF8 -A trust\n${make}`) },
        dcs: merge(
          {
            ttl: options.ttl ?? 10,
            loop_wait: options.loopWait ?? 2,
            retry_timeout: options.retryTimeout ?? 3,
            postgresql: { pg_hba: PG_HBA, parameters: { max_connections: 50 } },
          },
          options.dcs ?? {},
        ),
      },
      postgresql: {
        pg_clonecluster: {
          command: script(
            'clone.sh',
            `${bin}/pg_basebackup --pgdata "$datadir" -X stream --dbname="$connstring"
             test -e ${config}/postgresql.conf || { ${bin}/initdb -D "$datadir".new -A trust; (datadir="$datadir".new; ${make.trim()}); rm -rf "$datadir".new
             sed -i "s|^data_directory = .*|data_directory = '$datadir'|" ${config}/postgresql.conf; }\n`,
          ),
        },
        data_dir: node.dataDir,
        bin_dir: bin,
        config_dir: config,
        pgpass: join(node.directory, 'pgpass'),
        authentication: { superuser: SUPERUSER, replication: REPLICATION, rewind: REWIND },
        parameters: {
          unix_socket_directories: node.socketDirectory,
          log_directory: join(node.directory, 'log'),
          fsync: options.fsync === true ? 'on' : 'off',
          dynamic_shared_memory_type: 'mmap',
          shared_buffers: '32MB',
          ...options.parameters,
        },
      },
    };
    const whole = merge(merge(base, over), options.node?.(node.name) ?? {});
    writeFileSync(node.configFile, stringify(whole, { aliasDuplicateObjects: false }));
    chmodSync(node.configFile, serverAccount() === null ? 0o600 : 0o644);
  }

  private get everyNode(): readonly Node[] {
    return this.witness === null ? this.nodes : [...this.nodes, this.witness];
  }

  private configureWitness(node: Node, options: ClusterOptions): void {
    serverDirectory(join(node.directory, 'run'), 0o755);
    const address = `${node.host.address}:${node.apiPort}`;
    const base = {
      scope: this.scope,
      name: node.name,
      role: 'witness',
      runtime_directory: join(node.directory, 'run'),
      restapi: { listen: address, connect_address: address },
      etcd3: { hosts: this.etcd.endpoints.map((endpoint) => endpoint.replace('http://', '')) },
      postgresql: { authentication: { replication: REPLICATION } },
    };
    writeFileSync(
      node.configFile,
      stringify(merge(base, options.node?.(node.name) ?? {}), { aliasDuplicateObjects: false }),
    );
    chmodSync(node.configFile, serverAccount() === null ? 0o600 : 0o644);
  }

  node(name: string): Node {
    const found = this.everyNode.find((n) => n.name === name);
    if (found === undefined) throw new Error(`there is no node '${name}'`);
    return found;
  }

  others(...names: string[]): Node[] {
    return this.nodes.filter((node) => !names.includes(node.name));
  }

  // ---- asking -----------------------------------------------------------------------------------------------------

  /** A statement over the node's unix socket, on a connection of its own. */
  async sql<T extends Readonly<Record<string, unknown>> = Readonly<Record<string, unknown>>>(
    node: string,
    text: string,
    limitMs = 5_000,
  ): Promise<readonly T[]> {
    const rows = await this.watcher.ask('sql', { server: this.node(node).local, text, timeoutMs: limitMs });
    return rows as readonly T[];
  }

  /** The nodes whose Postgres is out of recovery, in order of name. There should never be two. */
  async primaries(): Promise<string[]> {
    const answers = await Promise.all(
      this.nodes.map(async (node) => {
        const [row] = await this.sql(node.name, 'select pg_is_in_recovery() as standby', 1_000).catch(() => []);
        return row?.['standby'] === false ? node.name : null;
      }),
    );
    return answers.filter((name) => name !== null);
  }

  async primary(): Promise<string> {
    const [name, another] = await this.primaries();
    if (name === undefined) throw new Error('there is no primary');
    if (another !== undefined) throw new Error(`${name} and ${another} are both out of recovery`);
    return name;
  }

  /** Waits for exactly one primary that accepts a write; returns its name. */
  waitForPrimary(limitMs = 30_000, except: readonly string[] = []): Promise<string> {
    return until(
      except.length === 0
        ? 'there is a writable primary'
        : `there is a writable primary other than ${except.join(', ')}`,
      limitMs,
      async () => {
        const names = await this.primaries();
        const [name] = names;
        if (names.length !== 1 || name === undefined || except.includes(name)) return null;
        await this.sql(name, 'create temporary table writable_check ()', 1_000);
        return name;
      },
    );
  }

  /** Waits until all these nodes stream from the primary and have replayed what was written before the question. */
  async waitAllStreaming(limitMs = 60_000, nodes: readonly Node[] = this.nodes): Promise<void> {
    const primary = await this.waitForPrimary(limitMs);
    const [row] = await this.sql(primary, 'select pg_current_wal_lsn()::text as lsn');
    const lsn = String(row?.['lsn']);
    const wanted = nodes.filter((node) => node.name !== primary).map((node) => node.name);
    let seen = '';
    try {
      await until(
        `${wanted.join(', ')} stream from ${primary}`,
        limitMs,
        async () => {
          const now = await this.primary();
          const senders = this.cascade ? this.nodes.map(({ name }) => name) : [now];
          const asked = senders.map((name) =>
            this.sql(
              name,
              `select application_name as name, state, replay_lsn::text as replay, replay_lsn >= '${lsn}' as far from pg_stat_replication`,
            ).catch(() => []),
          );
          const rows = (await Promise.all(asked)).flat();
          seen = `primary ${now}; wanted ${lsn}; ${JSON.stringify(rows)}`;
          const streaming = rows.filter((row) => row['state'] === 'streaming' && row['far'] === true);
          return wanted.every((name) => streaming.some((row) => row['name'] === name));
        },
        100,
      );
    } catch (error) {
      throw new Error(`${String(error)}; last seen: ${seen}`, { cause: error });
    }
  }

  http(
    node: string,
    path: string,
    options: { method?: string; body?: unknown; timeoutMs?: number; fromItself?: boolean } = {},
  ): Promise<HttpAnswer> {
    return this.client.ask('http', {
      method: options.method ?? 'GET',
      url: `${this.node(node).url}${path}`,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      headers: options.body === undefined ? {} : { 'content-type': 'application/json' },
      timeoutMs: options.timeoutMs ?? 2_000,
    });
  }

  /** The path of a built program, as the nodes run it. */
  program(name: string): string {
    return join(this.dist, name);
  }

  /** pgha-ctl with the configuration file of this node, run on the client's host. */
  ctl(args: readonly string[], options: { node?: string; timeoutMs?: number } = {}): Promise<CommandResult> {
    const node = this.node(options.node ?? this.nodes[0]?.name ?? '');
    return runOn(
      // A file that somebody else has published may mean its own machine where it says localhost.
      this.published ? node.host : this.clientHost,
      [...stepDown(true), nodeForServer(), join(this.dist, 'pgha-ctl.js'), '-c', node.configFile, ...args],
      { timeoutMs: options.timeoutMs ?? 60_000, cwd: node.directory },
    );
  }

  /** The daemon's command line, run to its end on the node: for --validate-config and refusals. */
  daemonCommand(node: string, args: readonly string[], timeoutMs = 20_000): Promise<CommandResult> {
    const { host, directory } = this.node(node);
    return runOn(host, [...stepDown(true), nodeForServer(), join(this.dist, 'pgha.js'), ...args], {
      timeoutMs,
      cwd: directory,
    });
  }

  /** Name in etcd's leader key, or null. */
  leader(): Promise<string | null> {
    return this.etcd.get(`/service/${this.scope}/leader`);
  }

  async timeline(node: string): Promise<number> {
    const [row] = await this.sql(node, 'select timeline_id as tl from pg_control_checkpoint()');
    return Number(row?.['tl']);
  }

  // ---- doing harm -------------------------------------------------------------------------------------------------

  killPostmaster(node: string): void {
    const id = this.node(node).postmaster();
    if (id === null) throw new Error(`no Postgres runs on ${node}`);
    signal(id, 'SIGKILL');
  }

  killGuard(node: string): ProcessId {
    const id = this.node(node).guard();
    if (id === null) throw new Error(`no guard runs on ${node}`);
    signal(id, 'SIGKILL');
    return id;
  }

  freezeFamily(node: string): void {
    for (const id of this.node(node).family()) signal(id, 'SIGSTOP');
  }

  thawFamily(node: string): void {
    for (const id of this.node(node).family()) signal(id, 'SIGCONT');
  }

  /** The process of this kind on a node, by its title: `walreceiver`, `walsender`, `startup`. */
  backend(node: string, kind: string): ProcessId | null {
    return (
      this.node(node)
        .family()
        .find((id) => commandLine(id).join(' ').includes(kind)) ?? null
    );
  }

  /** As a power cut: nobody hears from it again. The link goes first, so that no last packet leaves. */
  async killNode(name: string): Promise<void> {
    const node = this.node(name);
    this.network.linkDown(name);
    node.daemon.killForGood();
    for (const member of this.etcd.members) if (member.host.name === name) await this.etcd.killMember(member.name);
    await until(
      `everything on ${name} has ended`,
      5_000,
      () => {
        const guard = node.guard();
        if (guard !== null) signal(guard, 'SIGKILL');
        const family = node.family();
        for (const id of family) signal(id, 'SIGKILL');
        return guard === null && family.length === 0 && node.daemon.id() === null;
      },
      10,
    );
  }

  reviveNode(name: string): void {
    this.network.linkUp(name);
    for (const member of this.etcd.members) if (member.host.name === name) this.etcd.startMember(member.name);
    this.node(name).daemon.start();
  }

  // ---- writing and watching ---------------------------------------------------------------------------------------

  /** The tables of writer and watcher. The watcher starts at once and never stops. */
  async prepare(): Promise<void> {
    const primary = await this.waitForPrimary();
    await this.sql(
      primary,
      `create table if not exists e2e_ledger (row text primary key, payload text, at timestamptz default clock_timestamp());
       create table if not exists e2e_watch (node text, at timestamptz default clock_timestamp())`,
    );
    await this.watcher.ask('watcher-start', { servers: this.nodes.map((node) => node.local), everyMs: 10 });
  }

  async startWriter(
    options: { sessions?: number; everyMs?: number; payloadBytes?: number; servers?: readonly Server[] } = {},
  ): Promise<void> {
    await this.client.ask('writer-start', {
      servers: options.servers ?? this.nodes.map((node) => node.server),
      sessions: options.sessions ?? 1,
      everyMs: options.everyMs ?? 5,
      payloadBytes: options.payloadBytes ?? 20,
    });
    await this.waitForWrites(20);
  }

  /** Waits until so many more rows were acknowledged. */
  async waitForWrites(more = 20, limitMs = 30_000): Promise<void> {
    const before = await this.client.ask('writer-acked', null);
    await until(
      `${more} more rows are acknowledged`,
      limitMs,
      async () => {
        return (await this.client.ask('writer-acked', null)) >= before + more;
      },
      20,
    );
  }

  stopWriter(): Promise<WriterReport> {
    return this.client.ask('writer-stop', null);
  }

  writerReport(): Promise<WriterReport> {
    return this.client.ask('writer-report', null);
  }

  async pauseSince(instant: number): Promise<Pause | null> {
    return longestPause((await this.writerReport()).acked, instant);
  }

  /** Reads the ledger back and compares it with what the writer knows. */
  async finalRead(report: WriterReport): Promise<Verdict> {
    const primary = await this.waitForPrimary();
    const rows = await this.sql<{ row: string }>(primary, 'select row from e2e_ledger', 30_000);
    const attempted = [report.acked.map(({ row }) => row), report.unknown, report.failed].flat();
    const mine = new Set(attempted.map(writerOf));
    return judge(
      report,
      // Rows of earlier writers stand in the same table.
      rows.map(({ row }) => row).filter((row) => mine.has(writerOf(row))),
    );
  }

  /** Sentences about two nodes that accepted writes at once; empty is good. */
  async twoWriters(): Promise<string[]> {
    return overlaps(await this.watched()).map(({ sentence }) => sentence);
  }

  async watchedWrites(): Promise<number> {
    return (await this.watched()).length;
  }

  /** Every write that a node has accepted from the watcher. */
  watched(): Promise<readonly Accepted[]> {
    return this.watcher.ask('watcher-report', null);
  }

  // ---- the end ----------------------------------------------------------------------------------------------------

  /** Collects all logs where they survive the run. */
  saveLogs(): string {
    const place = mkdtempSync(join(tmpdir(), 'pgha-e2e-failed-'));
    for (const node of this.everyNode) {
      for (const file of [
        'daemon.log',
        'pgha.yml',
        'patroni.yml',
        'postgres.log',
        'run/postgres.log',
        'run/guard.log',
        'data/postgresql.conf',
        'data/log',
        'log',
        'etc',
      ]) {
        const source = join(node.directory, file);
        if (existsSync(source)) cpSync(source, join(place, node.name, file.replace('data/', '')), { recursive: true });
      }
    }
    for (const member of this.etcd.members)
      if (existsSync(member.log)) cpSync(member.log, join(place, `${member.name}.log`));
    return place;
  }

  /** The error with the place of the logs, and the last lines of every daemon's. */
  explain(error: unknown): Error {
    const place = this.saveLogs();
    const tails = this.everyNode.map((node) => `--- ${node.name}\n${node.logText().split('\n').slice(-25).join('\n')}`);
    appendFileSync(join(place, 'error.txt'), `${String(error)}\n${error instanceof Error ? error.stack : ''}\n`);
    return new Error(`${String(error)}\nlogs: ${place}\n${tails.join('\n')}`, { cause: error });
  }

  async destroy(): Promise<void> {
    for (const node of this.everyNode) node.killDaemons();
    this.client.stop();
    this.watcher.stop();
    await until(
      'every process of the cluster has ended',
      10_000,
      () => {
        let left = 0;
        for (const node of this.nodes) {
          const guard = node.guard();
          if (guard !== null) signal(guard, 'SIGKILL');
          // SIGQUIT lets the postmaster remove its shared memory; whoever is still there later is killed.
          const postmaster = node.postmaster();
          if (postmaster !== null) {
            signal(postmaster, 'SIGCONT');
            signal(postmaster, 'SIGQUIT');
          }
          left += (guard === null ? 0 : 1) + node.family().length;
        }
        return left === 0;
      },
      50,
    ).catch(() => {
      for (const node of this.nodes) for (const id of node.family()) signal(id, 'SIGKILL');
    });
    await this.etcd.stop();
    await sleep(20);
    this.network.destroy();
  }
}

/** `--scope=`, `--datadir=`, `--connstring=`: how Patroni calls an operator's methods. */
const DEBIAN_ARGUMENTS = `for i in "$@"; do case $i in
  --datadir=*) datadir=\${i#*=};; --connstring=*) connstring=\${i#*=};; esac; done
`;

/** Debian's template, filled in as its pg_createconfig_patroni does. */
function debianFile(node: Node, endpoints: readonly string[]): string {
  const hosts = endpoints.map((endpoint) => endpoint.replace('http://', '')).join(',');
  const words: Readonly<Record<string, string>> = {
    VERSION: '15',
    CLUSTER: 'main',
    HOSTNAME: node.name,
    HOSTIP: node.host.address,
    LISTEN_VIP: '',
    DATADIR_BASE: node.directory,
    NETWORK: '10.77.0.0/24',
    API_PORT: String(node.apiPort),
    PORT: String(node.pgPort),
    DCS_CONFIG: `etcd3:\n  hosts: ${hosts}`,
  };
  return readFileSync('/etc/patroni/config.yml.in', 'utf8').replace(
    /@([A-Z_]+)@/g,
    (whole, name: string) => words[name] ?? whole,
  );
}

const PG_HBA = [
  'local all all trust',
  'local replication all trust',
  'host all all 0.0.0.0/0 md5',
  'host replication all 0.0.0.0/0 md5',
];

/** So that several nodes can stand on one machine, and leave nothing on it: this much is the test's, not the file's. */
function publishedEnvironment(directory: string): Readonly<Record<string, string>> {
  return {
    PGHA_RUNTIME_DIRECTORY: join(directory, 'run'),
    PGHA_POSTGRESQL_UNIX_SOCKET_DIRECTORY: join(directory, 'socket'),
    PGHA_POSTGRESQL_PARAMETERS: '{fsync: "off", dynamic_shared_memory_type: mmap, shared_buffers: 32MB}',
  };
}

let distCopy: string | null = null;

/** dist/, where user postgres can read it; the repository may stand below /root. */
function copyDist(): string {
  if (distCopy === null) {
    const source = join(repository, 'dist');
    if (!existsSync(join(source, 'pgha.js'))) throw new Error('dist/pgha.js is not there: npm run build');
    distCopy = join(runDirectory, 'dist');
    cpSync(source, distCopy, { recursive: true });
  }
  return distCopy;
}

function merge(base: unknown, over: unknown): unknown {
  if (!isObject(base) || !isObject(over)) return over;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    merged[key] = isObject(merged[key]) && isObject(value) ? merge(merged[key], value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export { monotonic };
