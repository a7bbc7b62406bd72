/** etcd loses members, its leader, or everything, and gets them back. */
import { expect, it } from 'vitest';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

describeOnHosts('etcd', () => {
  const shared = sharedCluster({ etcdMembers: 3, ttl: 10 });

  it.skipIf(!everything)('loses a member that does not lead: nobody notices', async () => {
    const cluster = shared.current;
    const [primary, leader] = [await cluster.primary(), await cluster.etcd.leader()];
    const member = cluster.etcd.members.find(({ name }) => name !== leader)?.name ?? '';
    await cluster.startWriter();
    const killed = monotonic();
    await cluster.etcd.killMember(member);
    await sleep(cluster.ttlMs + 2_000);
    expect(await cluster.primary()).toBe(primary);
    cluster.etcd.startMember(member);
    await endsWell(cluster);
    expect((await cluster.pauseSince(killed))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
  });

  it('loses its leader: the primary stays', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const leader = await until('etcd has a leader', 5_000, () => cluster.etcd.leader());
    await cluster.startWriter();
    const killed = monotonic();
    await cluster.etcd.killMember(leader);
    await sleep(cluster.ttlMs + 2_000);
    expect(await cluster.primary()).toBe(primary);
    cluster.etcd.startMember(leader);
    await endsWell(cluster);
    expect((await cluster.pauseSince(killed))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
  });

  it('is gone altogether: the primary stops writing within its window, and writes again when etcd is back', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter();
    const gone = monotonic();
    for (const { name } of cluster.etcd.members) await cluster.etcd.killMember(name);
    await until('nobody accepts writes', cluster.ttlMs + 2_000, async () => (await cluster.primaries()).length === 0);
    console.log(
      `etcd gone (TTL ${cluster.ttlMs} ms): ${old} stopped writing after ${(monotonic() - gone).toFixed(0)} ms`,
    );
    expect((await cluster.http(old, '/primary')).status).not.toBe(200);
    await sleep(3_000);
    expect(await cluster.primaries()).toEqual([]);
    for (const { name } of cluster.etcd.members) cluster.etcd.startMember(name);
    await cluster.etcd.waitHealthy();
    await endsWell(cluster);
  });
});

describeOnHosts('etcd on the database nodes', () => {
  const shared = sharedCluster({ etcdMembers: 3, etcdOnNodes: true, ttl: 10 });

  it('the node of the primary is lost together with the leader of etcd: another takes over', async () => {
    const cluster = shared.current;
    const leaderHost = await until('etcd has a leader', 5_000, async () => {
      const leader = await cluster.etcd.leader();
      return cluster.etcd.members.find(({ name }) => name === leader)?.host.name;
    });
    if ((await cluster.primary()) !== leaderHost) {
      await ctlDone(cluster, ['switchover', '--candidate', leaderHost, '--force']);
      await cluster.waitAllStreaming();
    }
    await cluster.startWriter();
    const lost = monotonic();
    await cluster.killNode(leaderHost);
    await cluster.waitForPrimary(cluster.ttlMs * 2 + 15_000, [leaderHost]);
    await cluster.waitForWrites(20);
    const pause = await cluster.pauseSince(lost);
    cluster.reviveNode(leaderHost);
    await endsWell(cluster, { mayLose: true });
    console.log(`node and etcd leader lost (TTL ${cluster.ttlMs} ms): writes paused ${pause?.ms.toFixed(0)} ms`);
    expect(pause?.ms).toBeLessThan(cluster.ttlMs * 2);
  });
});
