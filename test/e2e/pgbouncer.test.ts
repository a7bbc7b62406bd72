/**
 * Clients behind real PgBouncers: what a switchover, a restart and everything that can go wrong in the middle of one
 * means for a pgbench with eight clients. One pooler stands on each node and leads to whoever leads, by the file that
 * pgha writes; so a pooler has to be told of a new leader before its clients go on.
 */
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import { startHaproxy } from './lib/haproxy.ts';
import { type BenchReport, POOLER_PORT, Pooler, poolersInFile, startPoolers } from './lib/pgbouncer.ts';
import { ctlDone, describeOnHosts, everything, sharedCluster } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const running = new WeakMap<Cluster, ReadonlyMap<string, Pooler>>();

/** Started when first asked for. */
async function poolersOf(cluster: Cluster): Promise<ReadonlyMap<string, Pooler>> {
  const poolers = running.get(cluster) ?? (await startPoolers(cluster));
  running.set(cluster, poolers);
  return poolers;
}

const fine = ({ code, errors }: BenchReport) => ({ code, errors });
const WITHOUT_ERRORS = { code: null, errors: [] };

const pauseOf = (cluster: Cluster): Promise<Record<string, unknown>> =>
  cluster.etcd.get(`/service/${cluster.scope}/pgha/poolers`).then((value) => JSON.parse(value ?? '{}'));

describeOnHosts('behind PgBouncer', () => {
  const shared = sharedCluster({
    nodes: 2,
    ...poolersInFile(['h1', 'h2'], { pause_timeout: '3s', max_pause: '10s' }),
  });

  it('a switchover and a restart of the leader cost the clients of a pgbench a pause, and no error', async () => {
    const cluster = shared.current;
    const poolers = await poolersOf(cluster);
    const old = await cluster.primary();
    // Through the one on the node that is going to be a standby: its clients have to be led away.
    const bench = await at(poolers, old).bench();
    await bench.goesOn(100);
    const said = await ctlDone(cluster, ['switchover', cluster.scope, '--force']);
    expect(said).toMatch(/Clients of the poolers were held back for \d+ ms\./);
    const next = await cluster.primary();
    expect(next).not.toBe(old);
    expect(await pauseOf(cluster)).toMatchObject({ state: 'resumed', for: 'switchover', by: old, resumed_by: next });
    const metrics = await cluster.http(next, '/metrics');
    expect(metrics.body).toMatch(/^pgha_pooler_pause_seconds\S* 0\.\d+$/m);
    expect(metrics.body).toMatch(/^pgha_poolers_held\S* 0$/m);

    await ctlDone(cluster, ['restart', cluster.scope, next, '--force']);
    await until('clients go on', 10_000, async () => {
      const { state, for: purpose } = await pauseOf(cluster);
      return state === 'resumed' && purpose === 'restart';
    });
    await bench.goesOn();
    expect(fine(await bench.report())).toEqual(WITHOUT_ERRORS);
    expect(cluster.nodes.map((node) => node.logText()).join()).not.toContain('pooler.skipped');
  });

  it.runIf(everything)('a pooler that stands still is passed over in time, and said so', async () => {
    const cluster = shared.current;
    const poolers = await poolersOf(cluster);
    const old = await cluster.primary();
    const [other] = cluster.others(old).map(({ name }) => name);
    const bench = await at(poolers, old).bench();
    await bench.goesOn(100);
    const frozen = at(poolers, other ?? '');
    frozen.freeze();
    const said = await ctlDone(cluster, ['switchover', cluster.scope, '--force']);
    expect(said).toContain(`Pooler ${frozen.address}: no answer within`);
    frozen.thaw();
    await bench.goesOn();
    expect(fine(await bench.report())).toEqual(WITHOUT_ERRORS);
    expect(await frozen.ask('SELECT 1')).toBe('1');
  });

  it.runIf(everything)('a transaction that does not end in time costs its own client alone an error', async () => {
    const cluster = shared.current;
    const poolers = await poolersOf(cluster);
    const old = await cluster.primary();
    const bench = await at(poolers, old).bench();
    await bench.goesOn(100);
    const long = await longTransaction(cluster, at(poolers, old));
    const said = await ctlDone(cluster, ['switchover', cluster.scope, '--force']);
    expect(said).toMatch(/Pooler \S+: transactions were still under way after \d+ ms/);
    expect(await long.ended).toMatch(/terminat|closed|lost/i);
    await bench.goesOn();
    expect(fine(await bench.report())).toEqual(WITHOUT_ERRORS);
  });

  it.runIf(everything)('a daemon that is killed while clients are held back: they go on all the same', async () => {
    const cluster = shared.current;
    const poolers = await poolersOf(cluster);
    const old = await cluster.primary();
    const bench = await at(poolers, old).bench();
    await bench.goesOn(100);
    // Keeps the pause from being complete, so that there is time to kill somebody in the middle of it.
    const long = await longTransaction(cluster, at(poolers, old));
    const switchover = cluster.ctl(['switchover', cluster.scope, '--force']);
    await until('clients are held back', 10_000, async () => (await pauseOf(cluster))['state'] === 'paused');
    cluster.node(old).daemon.kill();
    await until('clients go on', 40_000, async () => (await pauseOf(cluster))['state'] === 'resumed');
    await long.ended;
    await switchover;
    await bench.goesOn();
    expect(fine(await bench.report())).toEqual(WITHOUT_ERRORS);
  });

  it.runIf(everything)(
    'a leader whose node is lost while clients are held back: the next one lets them go',
    async () => {
      const cluster = shared.current;
      const poolers = await poolersOf(cluster);
      const old = await cluster.primary();
      const [other = ''] = cluster.others(old).map(({ name }) => name);
      // Of the node that stays.
      const bench = await at(poolers, other).bench();
      await bench.goesOn(100);
      const long = await longTransaction(cluster, at(poolers, other));
      const switchover = cluster.ctl(['switchover', cluster.scope, '--force']);
      await until('clients are held back', 10_000, async () => (await pauseOf(cluster))['state'] === 'paused');
      cluster.network.cut(old);
      await cluster.waitForPrimary(30_000, [old]);
      await until('clients of the one that stays go on', 30_000, async () => {
        try {
          return (await at(poolers, other).ask('SELECT pg_is_in_recovery()', 'postgres', 2)) === 'f';
        } catch {
          return false;
        }
      });
      cluster.network.heal(old);
      await until('those of the other one too', 40_000, async () => (await pauseOf(cluster))['state'] === 'resumed');
      expect(await at(poolers, old).ask('SELECT pg_is_in_recovery()')).toBe('f');
      await long.ended;
      await switchover;
      await bench.report();
    },
  );
});

const at = (poolers: ReadonlyMap<string, Pooler>, name: string): Pooler => {
  const pooler = poolers.get(name);
  if (pooler === undefined) throw new Error(`no pooler stands on ${name}`);
  return pooler;
};

/** One that no pause waits for to its end. `ended`: what its client is told. */
async function longTransaction(cluster: Cluster, through: Pooler): Promise<{ readonly ended: Promise<string> }> {
  const ended = through.ask('BEGIN; SELECT pg_sleep(60); COMMIT', 'postgres', 90).catch(String);
  const primary = await cluster.primary();
  await until('it is under way', 10_000, async () => {
    const [row] = await cluster.sql(
      primary,
      "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    );
    return Number(row?.['n']) === 1;
  });
  return { ended };
}

describeOnHosts('behind PgBouncer in front of HAProxy', () => {
  // h1, h2, etcd, client.
  const CLIENT = '10.77.0.14';
  const shared = sharedCluster({
    nodes: 2,
    node: () => ({
      pgbouncer: {
        poolers: [`${CLIENT}:${POOLER_PORT}`],
        username: 'postgres',
        password: 'superuser-of-the-test',
        databases: ['postgres'],
      },
    }),
  });

  it.runIf(everything)('clients go on once HAProxy leads to the new primary, without an error', async () => {
    const cluster = shared.current;
    const front = cluster.network.host('client');
    const { host, port } = startHaproxy(cluster, front);
    const pooler = new Pooler(cluster, front, `* = host=${host} port=${port}`);
    await pooler.leadsToPrimary();
    const old = await cluster.primary();
    const bench = await pooler.bench();
    await bench.goesOn(100);
    const said = await ctlDone(cluster, ['switchover', cluster.scope, '--force']);
    expect(said).toMatch(/Clients of the poolers were held back for \d+ ms\./);
    expect(await pauseOf(cluster)).toMatchObject({
      held: { [pooler.address]: { paused: ['postgres'], led: ['postgres'] } },
    });
    expect(await cluster.primary()).not.toBe(old);
    await bench.goesOn();
    expect(fine(await bench.report())).toEqual(WITHOUT_ERRORS);
  });
});
