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

  it.skipIf(!everything)(
    'Postgres is stopped and started by name, a leader hands over first, and a member that is gone is forgotten at once',
    async () => {
      const cluster = shared.current;
      const first = await cluster.primary();
      const [second = '', third = ''] = cluster.others(first).map(({ name }) => name);
      await cluster.startWriter({ sessions: 2 });
      expect(await cluster.ctl(['stop', third, '--force'])).toMatchObject({ code: 1 });
      expect(cluster.node(third).postmaster()).not.toBeNull();
      await ctlDone(cluster, ['pause', '--wait']);

      await ctlDone(cluster, ['stop', third, '--force']);
      expect(cluster.node(third).family()).toEqual([]);
      await sleep(2_000);
      expect(cluster.node(third).family(), 'nobody starts it').toEqual([]);
      await ctlDone(cluster, ['start', third]);
      await cluster.waitAllStreaming(30_000);

      // The leader: writes go on elsewhere.
      await ctlDone(cluster, ['stop', first, '--force']);
      expect(cluster.node(first).family()).toEqual([]);
      const next = await cluster.primary();
      expect([second, third]).toContain(next);
      await cluster.waitForWrites(20);
      await ctlDone(cluster, ['start', first]);
      await cluster.waitAllStreaming(30_000);

      // With the key: nobody accepts writes until it is started again.
      await ctlDone(cluster, ['stop', next, '--no-hand-over', '--force']);
      await sleep(2_000);
      expect(await cluster.primaries()).toEqual([]);
      await ctlDone(cluster, ['start', next]);
      expect(await cluster.primary()).toBe(next);
      await ctlDone(cluster, ['resume', '--wait']);
      await cluster.waitAllStreaming(30_000);

      expect(await cluster.ctl(['remove-member', first, '--force'])).toMatchObject({ code: 1 });
      await cluster.node(first).daemon.stop();
      await until(
        'its key is gone',
        3 * cluster.ttlMs,
        async () => (await cluster.etcd.get(`/service/e2e/members/${first}`)) === null,
      );
      const slots = async (): Promise<readonly unknown[]> => {
        const rows = await Promise.all(
          cluster.others(first).map(({ name }) => cluster.sql(name, 'select slot_name from pg_replication_slots')),
        );
        return rows.flat().map((row) => row['slot_name']);
      };
      expect(await slots()).toContain(first);
      await ctlDone(cluster, ['remove-member', first, '--force']);
      await until('its slots are gone', 15_000, async () => !(await slots()).includes(first));
      cluster.node(first).daemon.start();
      await endsWell(cluster);
    },
  );
});
