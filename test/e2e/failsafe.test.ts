/** etcd is away, and failsafe_mode is on: the primary goes on while every member confirms. Row by row: outages.test.ts. */
import { expect, it } from 'vitest';
import { describeOnHosts, endsWell, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

type Shared = ReturnType<typeof sharedCluster>['current'];

const member = (cluster: Shared) => cluster.etcd.members[0] ?? expect.fail('there is no etcd');

/** The list stands in etcd with all nodes; a leader without it has nobody to ask. */
async function listed(cluster: Shared): Promise<void> {
  await until('all nodes stand in the failsafe list', 15_000, async () => {
    const list = JSON.parse((await cluster.etcd.get(`/service/${cluster.scope}/failsafe`)) ?? '{}') as object;
    return Object.keys(list).length === cluster.nodes.length;
  });
}

async function isActive(cluster: Shared, node: string): Promise<boolean> {
  const answer = await cluster.http(node, '/patroni');
  return (JSON.parse(answer.body) as Record<string, unknown>)['failsafe_mode_is_active'] === true;
}

describeOnHosts('etcd away, in failsafe mode', () => {
  const shared = sharedCluster({ etcdMembers: 1, ttl: 5, dcs: { failsafe_mode: true } });

  it('hangs altogether: the primary goes on, and stops once a member does not confirm', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const gone = monotonic();
    cluster.etcd.freezeMember(member(cluster).name);
    await until('the primary goes on by confirmations', 10_000, () => isActive(cluster, primary));
    await sleep(2 * cluster.ttlMs);
    expect((await cluster.http(primary, '/primary')).status).toBe(200);
    for (const { name } of cluster.nodes) expect(await isActive(cluster, name), name).toBe(true);
    expect(await cluster.primary()).toBe(primary);
    expect((await cluster.pauseSince(gone))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
    // One that answers no more, and may have etcd for all the others know.
    const silent = cluster.others(primary)[0]?.name ?? '';
    cluster.network.cutPort(primary, silent, cluster.node(silent).apiPort);
    await until('nobody accepts writes', 2 * cluster.ttlMs, async () => (await cluster.primaries()).length === 0);
    cluster.network.healPort(primary, silent, cluster.node(silent).apiPort);
    await cluster.waitForWrites(10, 3 * cluster.ttlMs);
    await wentOnAfter(cluster, primary, timeline);
  });
});

/** It stopped for want of a confirmation, and went on where it was when all confirmed again; etcd is still away. */
async function wentOnAfter(cluster: Shared, primary: string, timeline: number): Promise<void> {
  expect(await cluster.primary()).toBe(primary);
  expect(await cluster.timeline(primary)).toBe(timeline);
  cluster.etcd.thawMember(member(cluster).name);
  await cluster.etcd.waitHealthy();
  await until('etcd proves it again', 15_000, async () => !(await isActive(cluster, primary)));
  await endsWell(cluster);
}
