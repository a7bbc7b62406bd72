/**
 * pgpool-II in front of a cluster, as a pooler and balancer: config/pgpool.conf as it is shipped, with config/haproxy.cfg beside it;
 * and what becomes of one that knows the nodes themselves, which docs/from-pgpool.md advises against.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Around, placeOf, startHaproxyWith, startPgpool } from './lib/around.ts';
import { repository, runOn } from './lib/client.ts';
import type { Server } from './lib/client-messages.ts';
import { Cluster } from './lib/cluster.ts';
import { createNamespaces, type Host, type Network } from './lib/network.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const LIMIT_MS = 60_000;
const READ_ONLY = 'in a read-only transaction';
const shipped = (file: string): string => readFileSync(join(repository, 'config', file), 'utf8');

(everything ? describeOnHosts : describe.skip)('pgpool-II', () => {
  let network: Network;
  let cluster: Cluster;
  const running: Around[] = [];
  beforeAll(async () => {
    network = createNamespaces(['h1', 'h2', 'h3', 'e1', 'client', 'pool', 'direct']);
    cluster = await Cluster.start({ network });
  });
  afterEach(async (context) => {
    await cluster?.stopWriter();
    if (context.task.result?.state === 'fail')
      for (const error of context.task.result.errors ?? [])
        error.message += running.map(({ log }) => `\n--- ${log}\n${readFileSync(log, 'utf8').slice(-4_000)}`).join('');
    const children = running.splice(0).map(({ child }) => child);
    // pgpool waits for its clients at SIGTERM.
    for (const child of children) child.kill('SIGINT');
    await until('they have ended', LIMIT_MS, () => children.every((one) => (one.exitCode ?? one.signalCode) !== null));
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const start = (on: string, text: string): Server => {
    const host = network.host(on);
    const { server } = cluster.node('h1');
    running.push(startPgpool(placeOf(cluster.directory, 'pgpool', host), host, text, server));
    return { ...server, name: 'pgpool', host: host.address, port: 9999 };
  };
  const startDoors = (host: Host): void => {
    const text = cluster.nodes.reduce(
      (filled, node, index) => filled.replaceAll(`10.0.0.${11 + index}:5432`, `${node.host.address}:5432`),
      shipped('haproxy.cfg').replace('# server primary', 'server primary'),
    );
    expect(text).toMatch(/^ +server primary /m);
    running.push(startHaproxyWith(placeOf(cluster.directory, 'haproxy', host), host, text));
  };
  /** In a session of its own. @returns the node that answered, or what was said instead */
  const ask = async ({ host, port, user, password }: Server, statements: string): Promise<string> => {
    const command = ['psql', '-h', host, '-p', String(port), '-U', user, '-qAtc', statements, 'postgres'];
    const env = { ...process.env, PGPASSWORD: password, PGCONNECT_TIMEOUT: '5' };
    const { code, stdout, stderr } = await runOn(network.host('client'), command, { env, timeoutMs: 10_000 });
    const address = stdout.trim();
    return code === 0 ? (cluster.nodes.find((node) => node.host.address === address)?.name ?? address) : stderr.trim();
  };
  const reader = (server: Server): Promise<string> => ask(server, 'select host(inet_server_addr())');
  const writer = (server: Server): Promise<string> =>
    ask(server, 'create temporary table written as select host(inet_server_addr()) as here; select here from written');
  const writesReach = (server: Server, name: string): Promise<true> =>
    until(`a write reaches ${name}`, LIMIT_MS, async () => (await writer(server)) === name);

  it('config/pgpool.conf: writes follow the primary over a switchover and a failover, reads go to the standbys', async () => {
    startDoors(network.host('pool'));
    const server = start('pool', shipped('pgpool.conf'));
    await writesReach(server, await cluster.primary());
    await cluster.startWriter({ servers: [server], sessions: 2 });
    for (const end of ['switchover', 'failover'] as const) {
      const old = await cluster.primary();
      await until('reads are spread over the standbys, and they alone', LIMIT_MS, async () => {
        const seen = await Promise.all(Array.from({ length: 8 }, () => reader(server)));
        return (
          [...new Set(seen)].sort().join() ===
          cluster
            .others(old)
            .map(({ name }) => name)
            .join()
        );
      });
      if (end === 'switchover') await ctlDone(cluster, ['switchover', '--force']);
      else cluster.killPostmaster(old);
      const next = await cluster.waitForPrimary(LIMIT_MS, [old]);
      await writesReach(server, next);
      await cluster.waitForWrites(20, LIMIT_MS);
      await cluster.waitAllStreaming();
    }
    await endsWell(cluster);
  });

  it('config/pgpool.conf: writes go on while no standby is there, and reads with them', async () => {
    startDoors(network.host('pool'));
    const server = start('pool', shipped('pgpool.conf'));
    const primary = await cluster.primary();
    await writesReach(server, primary);
    const standbys = cluster.others(primary);
    await Promise.all(standbys.map(({ daemon }) => daemon.stop()));
    try {
      await writesReach(server, primary);
      await until('reads go to the primary', LIMIT_MS, async () => (await reader(server)) === primary);
    } finally {
      for (const { daemon } of standbys) daemon.start();
    }
    await cluster.waitAllStreaming();
    await until('and to a standby again', LIMIT_MS, async () => (await reader(server)) !== primary);
  });

  it('one that knows the nodes, and may not fail over, goes on writing to the old primary after a switchover', async () => {
    const backends = cluster.nodes.map(({ host: { address } }, n) => {
      const of = (name: string, value: string): string => `backend_${name}${n} = ${value}\n`;
      return of('hostname', `'${address}'`) + of('port', '5432') + of('flag', `'DISALLOW_TO_FAILOVER'`);
    });
    const { user, password } = cluster.node('h1').server;
    const check = (kind: string): string =>
      `${kind}_period = 1\n${kind}_user = '${user}'\n${kind}_password = '${password}'\n${kind}_database = 'postgres'\n`;
    const server = start(
      'direct',
      `${shipped('pgpool.conf').replace(/^(backend_\w+\d|sr_check|health_check)\w* = .*$/gm, '')}
${backends.join('')}${check('sr_check')}${check('health_check')}detach_false_primary = on
enable_pool_hba = off
allow_clear_text_frontend_auth = on\n`,
    );
    const old = await cluster.primary();
    await writesReach(server, old);
    await ctlDone(cluster, ['switchover', '--force']);
    await cluster.waitAllStreaming();
    await until('its checks have seen the new primary', LIMIT_MS, async () => {
      const { host, port } = server;
      const command = ['psql', '-h', host, '-p', String(port), '-U', user, '-Atc', 'show pool_nodes', 'postgres'];
      const { stdout } = await runOn(network.host('client'), command, {
        env: { ...process.env, PGPASSWORD: password },
      });
      return stdout.split('\n').some((line) => line.includes('|standby|primary|'));
    });
    expect(await writer(server)).toContain(READ_ONLY);
  });
});
