/**
 * A real etcd of one or more members, each on a host of the test network, with data on the run's directory. It can
 * lose members and get them back; it never touches an etcd that runs on the machine.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from './launch.ts';
import type { Host, Network } from './network.ts';
import { alive, identify, type ProcessId, signal } from './processes.ts';
import { sleep, until } from './time.ts';

/** 2379 and 2380 everywhere, but two hosts on the loopback need room between them. */
const CLIENT_PORT = 2379;
const PEER_PORT = 2480;

export interface EtcdMember {
  readonly name: string;
  readonly host: Host;
  readonly endpoint: string;
  readonly log: string;
}

export interface Etcd {
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  /** Name of the member that leads the raft group now, or null. */
  leader(): Promise<string | null>;
  moveLeader(name: string): Promise<void>;
  killMember(name: string): Promise<void>;
  /** SIGSTOP and SIGCONT. */
  freezeMember(name: string): void;
  thawMember(name: string): void;
  /** Nothing where it runs already. */
  startMember(name: string): void;
  /** All members are started anew without anything that was in them. */
  wipe(): Promise<void>;
  /** Into this file; it may not be there yet. */
  backUp(file: string): Promise<void>;
  /** All members are started anew with what this file holds, as a cluster of its own. */
  restore(file: string): Promise<void>;
  /** Waits until a majority answers reads and writes. */
  waitHealthy(): Promise<void>;
  /** Runs etcdctl against all members; its standard output. */
  etcdctl(...args: string[]): Promise<string>;
  get(key: string): Promise<string | null>;
  stop(): Promise<void>;
}

/** What is said of etcd in files that somebody else wrote, one member on each host. */
export interface PublishedEtcd {
  /** Its variables, `ETCD_...`, as they stand in the member's file. */
  readonly variables: (host: string) => Readonly<Record<string, string>>;
}

/**
 * @param hosts - one member on each of these; they may carry other things as well
 * @param askFrom - the host etcdctl runs on
 * @param published - the members are configured by this alone, with the usual ports
 */
export async function startEtcd(
  network: Network,
  hosts: readonly string[],
  askFrom: string,
  directory: string,
  extraArgs: readonly string[] = [],
  published: PublishedEtcd | null = null,
): Promise<Etcd> {
  const members = hosts.map((hostName, index): EtcdMember => {
    const host = network.host(hostName);
    const name = published?.variables(hostName)['ETCD_NAME'] ?? `etcd${index + 1}`;
    const place = join(directory, name);
    mkdirSync(place, { recursive: true });
    return {
      name,
      host,
      endpoint: `http://${host.address}:${host.port(CLIENT_PORT)}`,
      log: join(place, 'etcd.log'),
    };
  });
  const peerOf = (member: EtcdMember): string => `http://${member.host.address}:${member.host.port(PEER_PORT)}`;
  const initialCluster = members.map((other) => `${other.name}=${peerOf(other)}`).join(',');
  const processes = new Map<string, { child: ChildProcess; id: ProcessId | null }>();
  const member = (name: string): EtcdMember => {
    const found = members.find((m) => m.name === name);
    if (found === undefined) throw new Error(`there is no etcd member '${name}'`);
    return found;
  };
  const start = (name: string): void => {
    const m = member(name);
    const before = processes.get(name)?.id;
    if (before !== undefined && before !== null && alive(before)) return;
    const child = launch({
      host: m.host,
      program: 'etcd',
      ...(published === null ? {} : { env: published.variables(m.host.name) }),
      args:
        published !== null
          ? []
          : [
              '--name',
              name,
              '--data-dir',
              dataOf(name),
              '--listen-client-urls',
              m.endpoint,
              '--advertise-client-urls',
              m.endpoint,
              '--listen-peer-urls',
              peerOf(m),
              '--initial-advertise-peer-urls',
              peerOf(m),
              '--initial-cluster',
              initialCluster,
              '--initial-cluster-token',
              'pgha-test',
              '--log-level',
              'warn',
              '--auto-compaction-retention',
              '1h',
              ...extraArgs,
            ],
      log: m.log,
      cwd: join(directory, name),
      asServer: false,
    });
    processes.set(name, { child, id: child.pid === undefined ? null : identify(child.pid) });
  };
  const send = (name: string, what: NodeJS.Signals): void => {
    const id = processes.get(member(name).name)?.id;
    if (id !== undefined && id !== null) signal(id, what);
  };
  const client = network.host(askFrom);
  const etcdctlAt = (endpoints: readonly string[], args: readonly string[]): Promise<string> =>
    new Promise((resolve, reject) => {
      const [first = '', ...rest] = [
        ...client.prefix,
        'etcdctl',
        '--endpoints',
        endpoints.join(','),
        '--dial-timeout=1s',
        '--command-timeout=3s',
        ...args,
      ];
      execFile(first, rest, { env: { ...process.env, ETCDCTL_API: '3' }, timeout: 10_000 }, (error, stdout, stderr) => {
        // `endpoint status` prints what it knows and fails when one member is away.
        if (error !== null && stdout.trim() === '') reject(new Error(`etcdctl ${args.join(' ')}: ${stderr}`));
        else resolve(stdout);
      });
    });
  const etcdctl = (...args: string[]): Promise<string> =>
    etcdctlAt(
      members.map((m) => m.endpoint),
      args,
    );
  /** Ids as text: they do not fit into a number of JavaScript. */
  const status = async (): Promise<{ name: string; id: string; leads: boolean }[]> => {
    const lines = (await etcdctl('endpoint', 'status')).trim().split('\n');
    return lines.map((line) => {
      const [endpoint = '', id = '', , , leads = ''] = line.split(', ');
      return { name: members.find((m) => m.endpoint === endpoint)?.name ?? '', id, leads: leads === 'true' };
    });
  };
  let restored = 0;
  const dataOf = (name: string): string =>
    published?.variables(member(name).host.name)['ETCD_DATA_DIR'] ??
    // Without a setting it makes one where it is started.
    join(directory, name, published === null ? 'data' : `${name}.etcd`);
  const killAll = async (): Promise<void> => {
    for (const { name } of members) await etcd.killMember(name);
    for (const { name } of members) rmSync(dataOf(name), { recursive: true });
  };
  const startAll = async (): Promise<void> => {
    for (const { name } of members) start(name);
    await etcd.waitHealthy();
  };
  const etcd: Etcd = {
    members,
    endpoints: members.map((m) => m.endpoint),
    leader: async () => (await status()).find(({ leads }) => leads)?.name ?? null,
    moveLeader: async (name) => {
      await until(
        `etcd ${name} leads`,
        20_000,
        async () => {
          const answers = await status();
          const leader = answers.find(({ leads }) => leads);
          const target = answers.find((answer) => answer.name === name);
          if (leader === undefined || target === undefined) return false;
          if (leader.name === name) return true;
          // Only the member that leads can hand over, so it alone is asked. The other may not have caught up yet.
          await etcdctlAt([member(leader.name).endpoint], ['move-leader', target.id]).catch(() => '');
          return false;
        },
        200,
      );
    },
    killMember: async (name) => {
      send(name, 'SIGKILL');
      const child = processes.get(name)?.child;
      await until(`etcd ${name} has exited`, 5_000, () => child?.exitCode !== null || child.signalCode !== null, 10);
    },
    freezeMember: (name) => send(name, 'SIGSTOP'),
    thawMember: (name) => send(name, 'SIGCONT'),
    startMember: start,
    wipe: async () => {
      await killAll();
      await startAll();
    },
    backUp: async (file) => {
      await etcdctlAt([members[0]?.endpoint ?? ''], ['snapshot', 'save', file]);
    },
    restore: async (file) => {
      await killAll();
      const token = `pgha-restored-${++restored}`;
      for (const m of members)
        await etcdctl(
          'snapshot',
          'restore',
          file,
          ...['--data-dir', dataOf(m.name), '--name', m.name, '--initial-cluster', initialCluster],
          ...['--initial-advertise-peer-urls', peerOf(m), '--initial-cluster-token', token],
        );
      await startAll();
    },
    waitHealthy: async () => {
      await until('etcd answers', 20_000, async () => (await etcdctl('put', '/e2e', 'x')).includes('OK'), 100);
    },
    etcdctl,
    get: async (key) => {
      const text = await etcdctl('get', key, '--print-value-only');
      return text === '' ? null : text.replace(/\n$/, '');
    },
    stop: async () => {
      for (const { name } of members) send(name, 'SIGCONT');
      for (const { name } of members) send(name, 'SIGKILL');
      await sleep(50);
    },
  };
  for (const { name } of members) start(name);
  await etcd.waitHealthy();
  return etcd;
}
