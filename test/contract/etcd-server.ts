/**
 * Starts real etcd members for a test, on free loopback ports with their data in a directory of their own, and ends
 * them again by process id. Nothing else on the machine is touched, also when the test process dies half way.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ETCD = process.env['ETCD'] ?? 'etcd';
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 5_000;

export interface EtcdMember {
  readonly name: string;
  readonly endpoint: string;
  /** null while it is not running. */
  pid(): number | null;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP, and every thread of it stands when this returns: connections stand, nothing answers. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** After `kill`, with its data and ports; resolves when it takes connections. */
  start(): Promise<void>;
}

export interface EtcdServers {
  /** `http://127.0.0.1:41234`, one for each member. */
  readonly endpoints: readonly string[];
  readonly members: readonly EtcdMember[];
  /** Of the members that run now. */
  readonly pids: readonly number[];
  readonly directory: string;
  /** Of the first member, by `etcdctl snapshot`. @returns what restores it, in a cluster of one, under the same id */
  backUp(): Promise<() => Promise<void>>;
  /** Ends all members and removes what they wrote. */
  stop(): Promise<void>;
}

export interface EtcdOptions {
  readonly members?: number;
  /** Where the data goes; a new temporary directory when it is left out. */
  readonly dir?: string;
  /** Further arguments for every member. */
  readonly args?: readonly string[];
  /** Serve clients over TLS and demand a certificate of this authority; the endpoints are `https://localhost:…` then. */
  readonly tls?: { readonly cacert: string; readonly cert: string; readonly key: string };
}

/** Resolves when every member answers and has a leader. */
export async function startEtcd({ members: size = 1, dir, args = [], tls }: EtcdOptions = {}): Promise<EtcdServers> {
  const directory = dir ?? (await mkdtemp(join(tmpdir(), 'pgha-etcd-')));
  const ports = await freePorts(size * 3);
  const names = Array.from({ length: size }, (_, i) => `e${i}`);
  const [scheme, host] = tls === undefined ? ['http', '127.0.0.1'] : ['https', 'localhost'];
  const peerUrl = (i: number): string => `http://127.0.0.1:${ports[i * 3]}`;
  // Health is asked here, without certificates.
  const metricsUrl = (i: number): string => `http://127.0.0.1:${ports[i * 3 + 1]}`;
  const clientPort = (i: number): number => ports[i * 3 + 2] ?? 0;
  const endpoints = names.map((_, i) => `${scheme}://${host}:${clientPort(i)}`);
  const initialCluster = names.map((name, i) => `${name}=${peerUrl(i)}`).join(',');
  const token = `pgha-${ports[0]}`;
  const tlsArgs =
    tls === undefined
      ? []
      : ['--cert-file', tls.cert, '--key-file', tls.key, '--trusted-ca-file', tls.cacert, '--client-cert-auth'];

  const members = names.map((name, i) =>
    member(name, endpoints[i] ?? '', metricsUrl(i), directory, [
      ...['--name', name, '--data-dir', join(directory, name), '--listen-metrics-urls', metricsUrl(i)],
      ...['--listen-client-urls', `${scheme}://127.0.0.1:${clientPort(i)}`],
      ...['--advertise-client-urls', endpoints[i] ?? ''],
      ...['--listen-peer-urls', peerUrl(i), '--initial-advertise-peer-urls', peerUrl(i)],
      ...['--initial-cluster', initialCluster, '--initial-cluster-state', 'new'],
      ...['--initial-cluster-token', token, '--logger', 'zap', '--log-level', 'warn'],
      ...tlsArgs,
      ...args,
    ]),
  );
  const running = (): number[] => members.map((each) => each.pid()).filter((pid) => pid !== null);
  // The last line of defence when a test process ends without its hooks.
  const lastly = (): void => {
    for (const pid of running()) process.kill(pid, 'SIGKILL');
  };
  process.once('exit', lastly);

  const servers: EtcdServers = {
    endpoints,
    members,
    get pids() {
      return running();
    },
    directory,
    backUp: async () => {
      const [first] = members;
      if (first === undefined) throw new Error('etcd has no member');
      const file = join(directory, 'snapshot');
      const etcdctl = (...args: string[]): Promise<unknown> =>
        run('etcdctl', args, { env: { ...process.env, ETCDCTL_API: '3' } });
      await etcdctl('--endpoints', first.endpoint, 'snapshot', 'save', file);
      return async () => {
        await first.kill();
        const data = join(directory, first.name);
        await rm(data, { recursive: true });
        await etcdctl(
          ...['snapshot', 'restore', file, '--data-dir', data, '--name', first.name],
          ...['--initial-cluster', initialCluster, '--initial-advertise-peer-urls', peerUrl(0)],
          ...['--initial-cluster-token', token],
        );
        await first.start();
      };
    },
    stop: async () => {
      await Promise.all(members.map((each) => each.kill()));
      process.off('exit', lastly);
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await Promise.all(members.map((each) => each.start()));
    return servers;
  } catch (error) {
    await servers.stop();
    throw error;
  }
}

function member(
  name: string,
  endpoint: string,
  metricsUrl: string,
  directory: string,
  args: readonly string[],
): EtcdMember {
  let child: ChildProcess | null = null;
  const logFile = join(directory, `${name}.log`);
  const signal = (which: NodeJS.Signals): void => {
    child?.kill(which);
  };
  return {
    name,
    endpoint,
    pid: () => child?.pid ?? null,
    kill: async () => {
      const dying = child;
      if (dying === null) return;
      const gone = once(dying, 'exit');
      dying.kill('SIGKILL');
      await gone;
    },
    freeze: () => {
      if (child?.pid === undefined) return;
      signal('SIGSTOP');
      waitUntilStopped(child.pid);
    },
    thaw: () => signal('SIGCONT'),
    start: async () => {
      const log = openSync(logFile, 'a');
      const started = spawn(ETCD, args, { stdio: ['ignore', log, log] });
      closeSync(log);
      child = started;
      let trouble: string | null = null;
      started.once('error', (error) => {
        trouble = error.message;
        child = null;
      });
      started.once('exit', (code) => {
        trouble = `exit code ${code}`;
        if (child === started) child = null;
      });
      const giveUpAt = performance.now() + START_LIMIT_MS;
      while (!(await isHealthy(metricsUrl))) {
        if (trouble !== null || performance.now() > giveUpAt) {
          const tail = (await readFile(logFile, 'utf8').catch(() => '')).split('\n').slice(-5).join('\n');
          throw new Error(`etcd ${name} did not start (${trouble ?? 'no leader in time'}):\n${tail}`);
        }
        await sleep(50);
      }
    },
  };
}

/**
 * A signal stops the threads one after the other, and on a busy machine one of them may answer yet. Without a pause of
 * the event loop, so that nothing of the test runs in between.
 */
function waitUntilStopped(pid: number): void {
  const giveUpAt = performance.now() + STOP_LIMIT_MS;
  while (!threadsOf(pid).every((state) => 'TtZX'.includes(state))) {
    if (performance.now() > giveUpAt) throw new Error(`etcd ${pid} did not stop`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
}

/** The letter of proc(5) for the state of each thread; none when the process is gone. */
function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
    });
  } catch {
    return [];
  }
}

/** Healthy by etcd's own word: a write would go through. */
async function isHealthy(metricsUrl: string): Promise<boolean> {
  try {
    const answer = await fetch(`${metricsUrl}/health`, { signal: AbortSignal.timeout(1_000) });
    return ((await answer.json()) as { health?: string }).health === 'true';
  } catch {
    return false;
  }
}

async function freePorts(count: number): Promise<readonly number[]> {
  // All held at once, so that none is given out twice.
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}
