/** The operator has the wheel: what goes on without pgha, and what he may ask of it by name. */
import { expect, it } from 'vitest';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

describeOnHosts('maintenance', () => {
  const shared = sharedCluster();

  it.skipIf(!everything)(
    'a switchover to a named member works; a stopped daemon leaves Postgres alone, and nobody is put beside it',
    async () => {
      const cluster = shared.current;
      const first = await cluster.primary();
      const [second = '', third = ''] = cluster.others(first).map(({ name }) => name);
      await cluster.startWriter({ sessions: 2 });
      await ctlDone(cluster, ['pause', '--wait']);
      const refused = await cluster.ctl(['switchover', '--leader', first, '--force']);
      expect([refused.code, refused.stdout]).toEqual([
        1,
        expect.stringContaining('specific candidate in a paused state'),
      ]);

      await ctlDone(cluster, ['switchover', '--leader', first, '--candidate', second, '--force']);
      expect(await cluster.primary()).toBe(second);
      // The one that handed over is back as a standby, and the third follows, without anybody having asked for that.
      await cluster.waitAllStreaming(20_000);
      await cluster.waitForWrites(20);

      const postmaster = cluster.node(second).postmaster();
      await cluster.node(second).daemon.stop();
      await until('the leader key has run out', 3 * cluster.ttlMs, async () => (await cluster.leader()) === null);
      expect(cluster.node(second).postmaster()).toEqual(postmaster);
      await cluster.waitForWrites(20);
      const beside = await cluster.ctl(['failover', '--candidate', third, '--force'], { node: third });
      expect([beside.code, beside.stdout + beside.stderr]).toEqual([1, expect.stringContaining('alive')]);
      await sleep(2_000);
      expect(await cluster.primaries()).toEqual([second]);

      cluster.node(second).daemon.start();
      await until('the primary that runs has the key again', 15_000, async () => (await cluster.leader()) === second);
      await ctlDone(cluster, ['resume', '--wait']);
      expect(cluster.node(second).postmaster()).toEqual(postmaster);
      await endsWell(cluster);
    },
  );

  it.skipIf(!everything)('a failover by hand puts another member in the place of one that is gone', async () => {
    const cluster = shared.current;
    const first = await cluster.primary();
    const [second = '', third = ''] = cluster.others(first).map(({ name }) => name);
    await ctlDone(cluster, ['pause', '--wait']);
    await cluster.node(first).daemon.stop();
    cluster.killPostmaster(first);
    await until('Postgres is gone', 10_000, () => cluster.node(first).family().length === 0);
    await until('the leader key has run out', 3 * cluster.ttlMs, async () => (await cluster.leader()) === null);
    await sleep(cluster.ttlMs);
    expect(await cluster.primaries()).toEqual([]);

    await ctlDone(cluster, ['failover', '--candidate', third, '--force']);
    expect(await cluster.primary()).toBe(third);
    await cluster.startWriter({ sessions: 2 });
    await cluster.waitAllStreaming(20_000, [cluster.node(second)]);
    await ctlDone(cluster, ['resume', '--wait']);
    cluster.node(first).daemon.start();
    await endsWell(cluster);
  });

  it.skipIf(!everything)(
    'the member that an operator promotes by hand gets the key, and the others follow it',
    async () => {
      const cluster = shared.current;
      const first = await cluster.primary();
      const [second = ''] = cluster.others(first).map(({ name }) => name);
      await ctlDone(cluster, ['pause', '--wait']);
      cluster.killPostmaster(first);
      await until('Postgres is gone', 10_000, () => cluster.node(first).family().length === 0);
      await cluster.sql(second, 'select pg_promote()');
      await until('it has the key', 15_000, async () => (await cluster.leader()) === second);
      await ctlDone(cluster, ['resume', '--wait']);
      expect(await cluster.waitForPrimary()).toBe(second);
      await cluster.startWriter({ sessions: 2 });
      await endsWell(cluster);
    },
  );
});
