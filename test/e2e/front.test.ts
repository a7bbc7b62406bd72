/**
 * The files that we recommend for what stands in front of a cluster, config/haproxy.cfg and config/keepalived*.conf, with the real
 * programs: addresses, the interface and paths are filled in, nothing else. how-tos.test.ts is about what others have published.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../scripts/ensure.mjs';
import { AddressWatch, type Around, holdersOf, placeOf, startHaproxyWith, startKeepalived } from './lib/around.ts';
import { repository, runOn } from './lib/client.ts';
import type { Server } from './lib/client-messages.ts';
import { Cluster } from './lib/cluster.ts';
import { createNamespaces, type Host, type Network } from './lib/network.ts';
import { identify, signal } from './lib/processes.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const NODES = ['h1', 'h2', 'h3'];
const FRONT = ['lb1', 'lb2'];
const VIRTUAL = '10.77.0.10';
/** The one that pgha moves itself. */
const OURS = '10.77.0.20';
const LIMIT_MS = 60_000;

const recommended = (file: string): string => readFileSync(join(repository, 'config', file), 'utf8');

/** With the lines that are marked in it. */
const withAgentCheck = (text: string): string => text.replaceAll(/^( +)# (default-server agent)/gm, '$1$2');

/** With the addresses of the test; those of the peers in the order in which they stand there. */
function filled(file: string, words: Readonly<Record<string, string>>): string {
  return Object.entries(words).reduce((text, [from, to]) => {
    expect(text).toContain(from);
    return text.replaceAll(from, to);
  }, recommended(file));
}

describeOnHosts('config/haproxy.cfg', () => {
  it('is what HAProxy takes, with agent-check and without', () => {
    openRun();
    const file = join(runDirectory, 'haproxy.cfg');
    for (const text of [recommended('haproxy.cfg'), withAgentCheck(recommended('haproxy.cfg'))]) {
      writeFileSync(file, text);
      execFileSync(which('haproxy') ?? 'haproxy', ['-c', '-q', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    }
    expect(withAgentCheck(recommended('haproxy.cfg')).match(/^ +default-server agent-check /gm)).toHaveLength(2);
  });
});

(everything ? describeOnHosts : describe.skip)('what stands in front of a cluster', () => {
  let network: Network;
  let cluster: Cluster;
  const running: Around[] = [];
  beforeAll(async () => {
    network = createNamespaces([...NODES, 'e1', 'client', ...FRONT]);
    cluster = await Cluster.start({
      network,
      // keepalived's check asks on the loopback; and the address that comes and goes is Postgres' too.
      node: () => ({
        restapi: { listen: '0.0.0.0:8008', agent_check: '*:8009' },
        postgresql: { listen: '*:5432' },
        vip: { address: `${OURS}/24`, interface: 'eth0' },
      }),
      capabilities: ['net_admin', 'net_raw'],
    });
  });
  afterEach(async () => {
    await cluster?.stopWriter();
    const children = running.splice(0).map(({ child }) => child);
    for (const child of children) child.kill('SIGTERM');
    await until('they have ended', LIMIT_MS, () => children.every((one) => (one.exitCode ?? one.signalCode) !== null));
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const startBoth = (
    hosts: readonly Host[],
    start: (host: Host, others: readonly Host[]) => Around,
  ): Map<string, Around> =>
    new Map(
      hosts.map((host) => {
        const one = start(
          host,
          hosts.filter((other) => other !== host),
        );
        running.push(one);
        return [host.name, one];
      }),
    );
  const servers = (): Readonly<Record<string, string>> =>
    Object.fromEntries(cluster.nodes.map(({ host }, index) => [`10.0.0.${11 + index}:5432`, `${host.address}:5432`]));
  const through = (address: string, port: number): Server => ({
    ...cluster.node('h1').server,
    ...{ name: address, host: address, port },
  });
  const arrives = (name: string, hosts: readonly Host[], address = VIRTUAL): Promise<true> =>
    until(
      `${name} alone has the address`,
      LIMIT_MS,
      async () => (await holdersOf(address, hosts)).join() === name,
    ).catch((error: unknown) => {
      const logs = running
        .filter(({ config }) => config.includes('keepalived'))
        .map(({ log }) => readFileSync(log, 'utf8'));
      throw new Error([String(error), ...logs].join('\n---\n'));
    });
  const end = (around: Around | undefined): void => {
    const id = around?.child.pid === undefined ? null : identify(around.child.pid);
    if (id !== null) signal(id, 'SIGKILL');
  };

  it('keepalived.conf: a writer that knows one address alone goes on after a switchover and a failover', async () => {
    const hosts = cluster.nodes.map(({ host }) => host);
    const script = join(cluster.directory, 'check_pgha.sh');
    copyFileSync(join(repository, 'config/check_pgha.sh'), script);
    const all = startBoth(hosts, (host, [one, another]) =>
      startKeepalived(
        placeOf(cluster.directory, 'keepalived', host),
        host,
        filled('keepalived.conf', {
          '/etc/keepalived/check_pgha.sh': script,
          '10.0.0.10/24': `${VIRTUAL}/24`,
          '10.0.0.11': host.address,
          '10.0.0.12': one?.address ?? '',
          '10.0.0.13': another?.address ?? '',
        }),
      ),
    );
    const first = await cluster.primary();
    await arrives(first, hosts);
    await cluster.startWriter({ servers: [through(VIRTUAL, 5432)] });
    const [second = ''] = cluster.others(first).map(({ name }) => name);
    await ctlDone(cluster, ['switchover', '--candidate', second, '--force']);
    await arrives(second, hosts);
    await cluster.waitForWrites(20, LIMIT_MS);
    await cluster.waitAllStreaming();
    cluster.killPostmaster(second);
    await arrives(await cluster.waitForPrimary(30_000, [second]), hosts);
    await endsWell(cluster);
    // A closed port is no leader: with a check that fails on 503 alone somebody would have the address now.
    const last = cluster.node(await cluster.primary());
    await Promise.all(cluster.others(last.name).map(({ daemon }) => daemon.stop()));
    await last.daemon.stop();
    await until('nobody has the address', LIMIT_MS, async () => (await holdersOf(VIRTUAL, hosts)).length === 0);
    for (const { daemon } of cluster.nodes) daemon.start();
    await cluster.waitAllStreaming();
    await arrives(await cluster.primary(), hosts);
    for (const { child } of all.values()) child.kill('SIGTERM');
    await until('the address is given back', LIMIT_MS, async () => (await holdersOf(VIRTUAL, hosts)).length === 0);
  });

  it('vip: an address that pgha moves itself is where the primary is, and never on two nodes at once', async () => {
    const hosts = cluster.nodes.map(({ host }) => host);
    const watch = new AddressWatch(OURS, cluster.directory, hosts);
    try {
      const first = cluster.node(await cluster.primary());
      await arrives(first.name, hosts, OURS);
      await cluster.startWriter({ servers: [through(OURS, 5432)] });

      // A session of Postgres may not do what its daemon may.
      const [row] = await cluster.sql(first.name, 'select pg_backend_pid() as pid');
      expect(readFileSync(`/proc/${row?.['pid']}/status`, 'utf8')).toMatch(/^CapEff:\t0+$/m);

      // Somebody removes it.
      await runOn(first.host, ['ip', 'address', 'del', `${OURS}/24`, 'dev', 'eth0']);
      await until('it is put back', LIMIT_MS, () => first.logText().includes('vip.restored'));
      await arrives(first.name, hosts, OURS);

      const [second = ''] = cluster.others(first.name).map(({ name }) => name);
      await ctlDone(cluster, ['switchover', '--candidate', second, '--force']);
      await arrives(second, hosts, OURS);
      await cluster.waitForWrites(20, LIMIT_MS);
      await cluster.waitAllStreaming();
      cluster.killPostmaster(second);
      const third = cluster.node(await cluster.waitForPrimary(LIMIT_MS, [second]));
      await arrives(third.name, hosts, OURS);
      await cluster.waitForWrites(20, LIMIT_MS);
      await cluster.waitAllStreaming();

      // A daemon that hangs: the guard ends Postgres, and takes the address away.
      third.daemon.freeze();
      await until('the guard has taken it away', LIMIT_MS, async () => {
        return !(await holdersOf(OURS, hosts)).includes(third.name);
      });
      const fourth = await cluster.waitForPrimary(LIMIT_MS, [third.name]);
      await arrives(fourth, hosts, OURS);
      third.daemon.thaw();
      await endsWell(cluster);

      // Its daemon is killed, and the next one takes everything up.
      const taken = (): number => cluster.nodes.flatMap((node) => node.logText().match(/vip\.taken/g) ?? []).length;
      const before = taken();
      cluster.node(fourth).daemon.kill();
      await until('a daemon has it again', LIMIT_MS, () => taken() > before);
      const last = await cluster.waitForPrimary(LIMIT_MS);
      await arrives(last, hosts, OURS);
      expect(watch.overlaps).toEqual([]);

      // Whoever finds it where nobody leads removes it.
      const [stray = first] = cluster.others(last);
      await runOn(stray.host, ['ip', 'address', 'add', `${OURS}/24`, 'dev', 'eth0']);
      stray.daemon.kill();
      await arrives(last, hosts, OURS);
      await until('it is told', LIMIT_MS, () => stray.logText().includes('vip.stray'));
    } finally {
      watch.end();
    }
  });

  it('haproxy.cfg: the write port follows the primary, the read port the standbys', async () => {
    const host = network.host('lb1');
    const haproxy = startHaproxyWith(
      placeOf(cluster.directory, 'haproxy', host),
      host,
      filled('haproxy.cfg', servers()),
    );
    running.push(haproxy);
    const where = async (port: number): Promise<string> => {
      const [row] = await cluster.client.ask('sql', {
        server: through(host.address, port),
        text: 'select host(inet_server_addr()) as address',
        timeoutMs: 5_000,
      });
      return cluster.nodes.find((node) => node.host.address === row?.['address'])?.name ?? '';
    };
    for (let round = 0; round < 2; round++) {
      const primary = await cluster.primary();
      await until('the write port leads to the primary', LIMIT_MS, async () => (await where(5000)) === primary);
      await until('the read port leads to each standby in turn', LIMIT_MS, async () => {
        const seen = new Set(await Promise.all([where(5001), where(5001), where(5001), where(5001)]));
        return seen.size === 2 && !seen.has(primary);
      });
      await cluster.startWriter({ servers: [through(host.address, 5000)] });
      const [next = ''] = cluster.others(primary).map(({ name }) => name);
      await ctlDone(cluster, ['switchover', '--candidate', next, '--force']);
      await endsWell(cluster);
    }
  });

  it('haproxy.cfg: a session on a primary that is cut off ends, instead of waiting for it', async () => {
    const host = network.host('lb1');
    const place = placeOf(cluster.directory, 'cut', host);
    const haproxy = startHaproxyWith(place, host, filled('haproxy.cfg', servers()));
    running.push(haproxy);
    const old = cluster.node(await cluster.primary());
    const { user, password } = old.server;
    const psql = ['psql', '-h', host.address, '-p', '5000', '-U', user, '-Atc'];
    const ask = (text: string): ReturnType<typeof runOn> =>
      runOn(network.host('client'), [...psql, text, 'postgres'], {
        env: { ...process.env, PGPASSWORD: password },
        timeoutMs: 2 * LIMIT_MS,
      });
    await until('HAProxy sends clients to the primary', LIMIT_MS, async () => {
      // A server counts as well until its first check: each in turn has to be asked.
      const said = await Promise.all(NODES.map(() => ask('select pg_is_in_recovery()')));
      return said.every(({ stdout }) => stdout === 'f\n');
    });
    const waiting = ask("select 'of the test', pg_sleep(600)");
    await until('it waits on the primary', LIMIT_MS, async () => {
      const rows = await cluster.sql(old.name, "select 1 from pg_stat_activity where query like '%pg_sleep(600)'");
      return rows.length === 1;
    });
    await cluster.startWriter({ servers: [through(host.address, 5000)] });
    network.cut(old.name);
    const { code, stderr } = await waiting;
    expect(code).toBe(2);
    expect(stderr).toContain('server closed the connection unexpectedly');
    await cluster.waitForPrimary(LIMIT_MS, [old.name]);
    await cluster.waitForWrites(20, LIMIT_MS);
    network.heal(old.name);
    // Without synchronous standbys what it acknowledged alone is lost with it, and that is said.
    await endsWell(cluster, { mayLose: true });
  });

  it('haproxy.cfg with agent-check: each node says of itself what it is, and the write port follows the primary', async () => {
    const host = network.host('lb2');
    const text = withAgentCheck(filled('haproxy.cfg', servers()));
    const haproxy = startHaproxyWith(placeOf(cluster.directory, 'agent', host), host, text);
    running.push(haproxy);
    /** Whom HAProxy has heard `up` from: all have to have said something. */
    const heard = async (proxy: string): Promise<string> => {
      const { stdout } = await runOn(host, ['curl', '-s', '127.0.0.1:7000/;csv']);
      const [head = '', ...lines] = stdout.split('\n');
      const column = head.split(',').indexOf('agent_status');
      return lines
        .map((line) => line.split(','))
        .filter(([name, server]) => name === proxy && /^pg\d$/.test(server ?? ''))
        .map((row) => `${row[1]?.replace('pg', 'h')} ${row[column]?.replace('* ', '')}`)
        .join(', ');
    };
    const expected = (up: (name: string) => boolean): string =>
      NODES.map((name) => `${name} ${up(name) ? 'L7OK' : 'L7STS'}`).join(', ');
    for (let round = 0; round < 2; round++) {
      const primary = await cluster.primary();
      await until(
        'the agents say who leads',
        LIMIT_MS,
        async () => (await heard('write')) === expected((name) => name === primary),
      );
      await until(
        'and who does not',
        LIMIT_MS,
        async () => (await heard('read')) === expected((name) => name !== primary),
      );
      await cluster.startWriter({ servers: [through(host.address, 5000)] });
      const [next = ''] = cluster.others(primary).map(({ name }) => name);
      await ctlDone(cluster, ['switchover', '--candidate', next, '--force']);
      await endsWell(cluster);
    }
  });

  it('two HAProxy with keepalived in front: one of them dies, the address goes to the other, and writes go on', async () => {
    const hosts = FRONT.map((name) => network.host(name));
    const balancers = startBoth(hosts, (host) =>
      startHaproxyWith(placeOf(cluster.directory, 'haproxy', host), host, filled('haproxy.cfg', servers())),
    );
    startBoth(hosts, (host, [other]) =>
      startKeepalived(
        placeOf(cluster.directory, 'keepalived', host),
        host,
        filled('keepalived-haproxy.conf', {
          '10.0.0.10/24': `${VIRTUAL}/24`,
          '10.0.0.21': host.address,
          '10.0.0.22': other?.address ?? '',
          'priority 101': host.name === 'lb1' ? 'priority 101' : 'priority 100',
        }),
      ),
    );
    const holder = (): Promise<string> =>
      until('one of them has the address', LIMIT_MS, async () => {
        const holders = await holdersOf(VIRTUAL, hosts);
        return holders.length === 1 ? holders[0] : null;
      });
    const first = await holder();
    await cluster.startWriter({ servers: [through(VIRTUAL, 5000)] });
    end(balancers.get(first));
    await arrives(FRONT.find((name) => name !== first) ?? '', hosts);
    await endsWell(cluster);
    // And the leader too, meanwhile.
    await cluster.startWriter({ servers: [through(VIRTUAL, 5000)] });
    cluster.killPostmaster(await cluster.primary());
    await endsWell(cluster);
  });
});
