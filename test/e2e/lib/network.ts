/**
 * The hosts of a test and the cables between them. Two kinds: network namespaces (needs root), where links can be cut;
 * and the loopback of this machine (for the demo), where they cannot. Nothing here knows what runs on the hosts.
 */
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { openRun, runName } from './run.ts';

export interface Host {
  readonly name: string;
  readonly address: string;
  /** Put before a command, it runs there. */
  readonly prefix: readonly string[];
  /** The port to use for what usually listens on `usual`. On the loopback all hosts share one address. */
  port(usual: number): number;
}

export interface Network {
  host(name: string): Host;
  /** No packet goes from or to this host any more; nobody is told (packets are dropped, not refused). */
  cut(name: string): void;
  heal(name: string): void;
  cutBetween(a: string, b: string): void;
  healBetween(a: string, b: string): void;
  healAll(): void;
  /** Only the connections to this port, of either side: other packets between the two go on. */
  cutPort(a: string, b: string, port: number): void;
  healPort(a: string, b: string, port: number): void;
  /** What the host sends goes no faster than this from now on, kilobits per second. */
  slow(name: string, kbitPerSecond: number): void;
  fast(name: string): void;
  /** As pulling the cable on the host itself: it sees its link go down. */
  linkDown(name: string): void;
  linkUp(name: string): void;
  destroy(): void;
}

/** Why namespaces can't be had here, or null. */
export function namespacesUnavailable(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root: run the tests as root or with sudo';
  return null;
}

const RULES = `
table inet cuts {
  set blocked { type ipv4_addr; }
  set ports { type ipv4_addr . inet_service; }
  chain arriving {
    type filter hook input priority 0;
    ip saddr @blocked drop;
    ip saddr . tcp dport @ports drop;
    ip saddr . tcp sport @ports drop;
  }
}
`;

let networks = 0;

/**
 * A host that opens a thousand connections a second to one address runs out of ports within half a minute: each stays
 * taken for a minute after its end. With this one is taken again after a second.
 */
function manyConnections(netns: string): void {
  const set = ['sysctl', '-qw', 'net.ipv4.tcp_tw_reuse=1', 'net.ipv4.ip_local_port_range=16384 60999'];
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...set], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/**
 * Each host in a namespace of its own, joined by a bridge in one more. The machine's own network is not touched.
 *
 * @param addresses - of hosts that need a certain one; they may be of several networks, everybody reaches everybody
 */
export function createNamespaces(names: readonly string[], addresses: Readonly<Record<string, string>> = {}): Network {
  openRun();
  const id = networks++;
  const netnsOf = (name: string): string => `${runName}-${id}-${name}`;
  const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const nft = (name: string, text: string): void =>
    void execFileSync('nsenter', [`--net=/run/netns/${netnsOf(name)}`, 'nft', '-f', '-'], {
      input: text,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
  const tc = (name: string, ...args: string[]): void =>
    void execFileSync('nsenter', [`--net=/run/netns/${netnsOf(name)}`, 'tc', 'qdisc', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  const hub = netnsOf('hub');
  ip('netns', 'add', hub);
  ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', hub, 'link', 'set', 'br0', 'up');
  const hosts = new Map<string, Host>();
  names.forEach((name, index) => {
    const netns = netnsOf(name);
    const address = addresses[name] ?? `10.77.0.${11 + index}`;
    ip('netns', 'add', netns);
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    ip('-n', netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `v-${name}`, 'netns', hub);
    ip('-n', hub, 'link', 'set', `v-${name}`, 'master', 'br0');
    ip('-n', hub, 'link', 'set', `v-${name}`, 'up');
    ip('-n', netns, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    ip('-n', netns, 'link', 'set', 'eth0', 'up');
    if (Object.keys(addresses).length > 0) ip('-n', netns, 'route', 'add', 'default', 'dev', 'eth0');
    nft(name, RULES);
    manyConnections(netns);
    hosts.set(name, { name, address, prefix: ['nsenter', `--net=/run/netns/${netns}`, '--'], port: (usual) => usual });
  });
  const host = (name: string): Host => {
    const found = hosts.get(name);
    if (found === undefined) throw new Error(`there is no host '${name}' in this network`);
    return found;
  };
  // The rule stands where a packet arrives, so that the sender sees loss and not an error of its own firewall.
  const blocked = new Set<string>();
  const set = (a: string, b: string, block: boolean, port: number | null = null): void => {
    for (const [at, from] of [
      [a, b],
      [b, a],
    ] as const) {
      const key = `${at}<${from}:${port}`;
      if (blocked.has(key) === block) continue;
      const element = port === null ? `blocked { ${host(from).address} }` : `ports { ${host(from).address} . ${port} }`;
      nft(at, `${block ? 'add' : 'delete'} element inet cuts ${element}\n`);
      if (block) blocked.add(key);
      else blocked.delete(key);
    }
  };
  const slowed = new Set<string>();
  const fast = (name: string): void => {
    if (slowed.delete(name)) tc(name, 'del', 'dev', 'eth0', 'root');
  };
  const others = (name: string): string[] => names.filter((other) => other !== name);
  return {
    host,
    cut: (name) => {
      for (const other of others(name)) set(name, other, true);
    },
    heal: (name) => {
      for (const other of others(name)) set(name, other, false);
    },
    cutBetween: (a, b) => set(a, b, true),
    healBetween: (a, b) => set(a, b, false),
    cutPort: (a, b, port) => set(a, b, true, port),
    healPort: (a, b, port) => set(a, b, false, port),
    slow: (name, kbit) => {
      fast(name);
      tc(name, 'add', 'dev', 'eth0', 'root', 'tbf', 'rate', `${kbit}kbit`, 'burst', '32kb', 'latency', '400ms');
      slowed.add(name);
    },
    fast,
    healAll: () => {
      for (const key of [...blocked]) {
        const [, a = '', b = '', port = ''] = /^(.*)<(.*):(.*)$/.exec(key) ?? [];
        set(a, b, false, port === 'null' ? null : Number(port));
      }
      for (const a of names) {
        fast(a);
        ip('-n', netnsOf(a), 'link', 'set', 'eth0', 'up');
      }
    },
    linkDown: (name) => ip('-n', netnsOf(name), 'link', 'set', 'eth0', 'down'),
    linkUp: (name) => ip('-n', netnsOf(name), 'link', 'set', 'eth0', 'up'),
    destroy: () => {
      for (const name of ['hub', ...names]) ip('netns', 'del', netnsOf(name));
    },
  };
}

/** All hosts on 127.0.0.1, told apart by ports that nobody listens on now. */
export async function createLoopback(names: readonly string[], usualPorts: readonly number[]): Promise<Network> {
  openRun();
  // One offset for the whole run keeps the ports readable: 15432, 15433, 15434 and 18008, 18009, 18010.
  let offset = 10_000;
  // h1, h2, h3 count from 0; a name without a number is alone of its kind.
  const indexOf = (name: string): number => Number(/\d+$/.exec(name)?.[0] ?? 1) - 1;
  const wanted = (): number[] => usualPorts.flatMap((usual) => names.map((name) => usual + offset + indexOf(name)));
  while (!(await allFree(wanted()))) {
    offset += 100;
    if (offset > 30_000) throw new Error('no free ports on 127.0.0.1 from 10000 to 40000');
  }
  const hosts = new Map<string, Host>(
    names.map((name) => [
      name,
      { name, address: '127.0.0.1', prefix: [], port: (usual: number) => usual + offset + indexOf(name) },
    ]),
  );
  const impossible = (): never => {
    throw new Error('links on the loopback cannot be cut');
  };
  return {
    host: (name) => hosts.get(name) ?? impossible(),
    cut: impossible,
    heal: impossible,
    cutBetween: impossible,
    healBetween: impossible,
    healAll: () => undefined,
    cutPort: impossible,
    healPort: impossible,
    slow: impossible,
    fast: impossible,
    linkDown: impossible,
    linkUp: impossible,
    destroy: () => undefined,
  };
}

async function allFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
    });
    if (!free) return false;
  }
  return true;
}
