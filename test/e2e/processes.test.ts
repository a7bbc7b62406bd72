/** Our own processes die or hang while Postgres is well. */
import { rename, rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { Cluster } from './lib/cluster.ts';
import { alive, signal } from './lib/processes.ts';
import { describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

describeOnHosts('our own processes', () => {
  const shared = sharedCluster({ ttl: 8 });

  it('the daemon of the primary killed and started again: no restart, no failover, the same timeline', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const [postmaster, timeline] = [cluster.node(primary).postmaster(), await cluster.timeline(primary)];
    await cluster.startWriter();
    const killed = monotonic();
    cluster.node(primary).daemon.kill();
    await until('the daemon runs again and says so', 10_000, async () => {
      return (await cluster.http(primary, '/primary')).status === 200;
    });
    // Longer than its window: had it not taken the lease back, it would be stopped by now.
    await sleep(cluster.ttlMs + 1_000);
    expect(await cluster.primary()).toBe(primary);
    expect(cluster.node(primary).postmaster()).toEqual(postmaster);
    expect(await cluster.timeline(primary)).toBe(timeline);
    await endsWell(cluster);
    expect((await cluster.pauseSince(killed))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
  });

  it('the daemon of the primary killed for good: the guard ends Postgres in time and another takes over', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter();
    cluster.node(old).daemon.killForGood();
    const health = await cluster.http(old, '/primary');
    expect([503, null]).toContain(health.status);
    await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    expect(cluster.node(old).family()).toEqual([]);
    cluster.node(old).daemon.start();
    // The guard does not wait for what was not sent yet, and the daemon that would bring it over is not there.
    await endsWell(cluster, { mayLose: true });
  });

  it('the daemon of the primary frozen for two TTLs: the guard ends Postgres before another begins', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    const { daemon } = cluster.node(old);
    daemon.freeze();
    expect((await cluster.http(old, '/primary', { timeoutMs: 1_000 })).status).not.toBe(200);
    await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    await sleep(cluster.ttlMs);
    daemon.thaw();
    // The guard does not wait for what was not sent yet, and the daemon that would bring it over is not there.
    await endsWell(cluster, { mayLose: true });
  });

  it.runIf(everything)(
    'the data directory of the primary moved away under it, and its daemon killed: it is ended, and another takes over',
    async () => {
      const cluster = shared.current;
      const old = await cluster.primary();
      const { dataDir, daemon } = cluster.node(old);
      await cluster.startWriter({ sessions: 2 });
      const family = cluster.node(old).family();
      expect(family.length).toBeGreaterThan(3);
      await rename(dataDir, `${dataDir}.moved`);
      // Nothing of it is found by the path that everybody knows.
      expect(cluster.node(old).family()).toEqual([]);
      daemon.kill();
      try {
        await cluster.waitForPrimary(cluster.ttlMs + 30_000, [old]);
        expect(family.some(alive)).toBe(false);
        // What it had sent to nobody is in the directory that was moved.
        await endsWell(cluster, { mayLose: true });
      } finally {
        for (const one of family) signal(one, 'SIGKILL');
        await rm(`${dataDir}.moved`, { recursive: true, force: true });
      }
    },
  );

  it('the guard of the primary killed: a new one stands in its place and nobody else notices', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const postmaster = cluster.node(primary).postmaster();
    await cluster.startWriter();
    const killed = cluster.killGuard(primary);
    await until('there is a new guard', 3_000, () => {
      const guard = cluster.node(primary).guard();
      return guard !== null && guard.pid !== killed.pid && alive(guard);
    });
    await sleep(cluster.ttlMs + 1_000);
    expect(await cluster.primary()).toBe(primary);
    expect(cluster.node(primary).postmaster()).toEqual(postmaster);
    await endsWell(cluster);
  });

  it('the service of the primary stopped in order: the key is handed over without waiting for a TTL', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter();
    const stopped = monotonic();
    await cluster.node(old).daemon.stop();
    await cluster.waitForPrimary(cluster.ttlMs, [old]);
    await cluster.waitForWrites(20);
    const pause = await cluster.pauseSince(stopped);
    cluster.node(old).daemon.start();
    await endsWell(cluster);
    console.log(`service stopped: writes paused ${pause?.ms.toFixed(0)} ms`);
    expect(pause?.ms).toBeLessThan(cluster.ttlMs);
  });
});

(everything ? describeOnHosts : describeOnHosts.skip)('the tests themselves', () => {
  it('see two writers where there are two: a frozen daemon whose guard was switched off', async () => {
    const cluster = await Cluster.start({ node: () => ({ guard: 'off' }) });
    try {
      const old = await cluster.primary();
      cluster.node(old).daemon.freeze();
      await until(
        'two nodes accept writes',
        cluster.ttlMs + 15_000,
        async () => (await cluster.primaries()).length === 2,
      );
      await sleep(500);
      expect(await cluster.twoWriters()).toHaveLength(1);
    } finally {
      await cluster.destroy();
    }
  });
});
