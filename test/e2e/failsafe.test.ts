/** etcd is away, and failsafe_mode is on: the primary goes on while every member confirms. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runOn } from './lib/client.ts';
import { describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
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

/** The primary stayed, wrote without a gap that anybody could take for an outage, and is on its timeline. */
async function wentOn(cluster: Shared, since: number, primary: string, timeline: number): Promise<void> {
  expect(await cluster.primary()).toBe(primary);
  expect(await cluster.timeline(primary)).toBe(timeline);
  expect((await cluster.pauseSince(since))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
  await endsWell(cluster);
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

  it.skipIf(!everything)('is out of reach for the leader alone: nobody takes over', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const gone = monotonic();
    cluster.network.cutBetween(primary, member(cluster).host.name);
    await until('the primary goes on by confirmations', 10_000, () => isActive(cluster, primary));
    await sleep(2 * cluster.ttlMs);
    cluster.network.healAll();
    await until('etcd proves it again', 10_000, async () => (await cluster.leader()) === primary);
    await wentOn(cluster, gone, primary, timeline);
  });

  it.skipIf(!everything)('answers with errors only: the primary goes on', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const gone = monotonic();
    // From here on everybody without a name is refused, and the nodes have none.
    await cluster.etcd.etcdctl('user', 'add', 'root:secret');
    await cluster.etcd.etcdctl('user', 'grant-role', 'root', 'root');
    await cluster.etcd.etcdctl('auth', 'enable');
    await until('the primary goes on by confirmations', 10_000, () => isActive(cluster, primary));
    await sleep(2 * cluster.ttlMs);
    expect((await cluster.http(primary, '/primary')).status).toBe(200);
    await cluster.etcd.etcdctl('--user', 'root:secret', 'auth', 'disable');
    await until('etcd proves it again', 15_000, async () => !(await isActive(cluster, primary)));
    await wentOn(cluster, gone, primary, timeline);
  });

  it.skipIf(!everything)('is emptied: the leader takes its key again, and nobody makes a new cluster', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const primary = await cluster.primary();
    const [before] = await cluster.sql(primary, 'select system_identifier::text as id from pg_control_system()');
    await cluster.startWriter();
    await cluster.etcd.etcdctl('del', '', '--prefix');
    await sleep(2 * cluster.ttlMs);
    await endsWell(cluster);
    const [after] = await cluster.sql(
      await cluster.primary(),
      'select system_identifier::text as id from pg_control_system()',
    );
    expect(after?.['id']).toBe(before?.['id']);
  });

  it.skipIf(!everything)('comes back from an older backup: one primary, with its data', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const { name, host, endpoint } = member(cluster);
    const place = join(cluster.directory, name);
    const snapshot = join(place, 'snapshot');
    const etcdctl = (...args: string[]) =>
      runOn(host, ['env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', endpoint, ...args], { timeoutMs: 20_000 });
    expect((await etcdctl('snapshot', 'save', snapshot)).code).toBe(0);
    const old = await cluster.primary();
    const { code, stdout, stderr } = await cluster.ctl(['switchover', '--force']);
    expect({ code, text: stdout + stderr }).toMatchObject({ code: 0 });
    await cluster.waitAllStreaming();
    expect(await cluster.primary()).not.toBe(old);
    await cluster.startWriter();
    await cluster.etcd.killMember(name);
    const data = join(place, 'data');
    const peer = `http://${host.address}:${host.port(2480)}`;
    rmSync(data, { recursive: true });
    const restored = await etcdctl(
      'snapshot',
      'restore',
      snapshot,
      '--data-dir',
      data,
      '--name',
      name,
      '--initial-cluster',
      `${name}=${peer}`,
      '--initial-advertise-peer-urls',
      peer,
      '--initial-cluster-token',
      'pgha-restored',
    );
    expect({ code: restored.code, text: restored.stderr }).toMatchObject({ code: 0 });
    cluster.etcd.startMember(name);
    await cluster.etcd.waitHealthy();
    await sleep(2 * cluster.ttlMs);
    await endsWell(cluster);
    expect(cluster.nodes.some((node) => readFileSync(node.log, 'utf8').includes('dcs.history-restarted'))).toBe(true);
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

describeOnHosts('etcd out of space, in failsafe mode', () => {
  // Smaller than etcd itself would advise; its pages are 4 KiB.
  const shared = sharedCluster({
    etcdMembers: 1,
    ttl: 5,
    dcs: { failsafe_mode: true },
    etcdArgs: ['--quota-backend-bytes', String(8 * 1024 * 1024)],
  });

  it.skipIf(!everything)('answers keepalives and refuses writes: the primary goes on', async () => {
    const cluster = shared.current;
    await listed(cluster);
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const gone = monotonic();
    const filling = 'x'.repeat(100 * 1024);
    for (let i = 0; i < 120; i++) {
      const said = await cluster.etcd.etcdctl('put', `/filling/${i}`, filling).catch((error: unknown) => String(error));
      if (said.includes('space exceeded')) break;
    }
    expect(await cluster.etcd.etcdctl('alarm', 'list')).toContain('NOSPACE');
    await until('the primary goes on by confirmations', 15_000, () => isActive(cluster, primary));
    await sleep(2 * cluster.ttlMs);
    expect((await cluster.http(primary, '/primary')).status).toBe(200);
    await cluster.etcd.etcdctl('alarm', 'disarm');
    await cluster.etcd.etcdctl('del', '/filling/', '--prefix');
    const [status] = JSON.parse(await cluster.etcd.etcdctl('endpoint', 'status', '-w', 'json')) as [
      { Status: { header: { revision: number } } },
    ];
    await cluster.etcd.etcdctl('compact', String(status.Status.header.revision));
    await cluster.etcd.etcdctl('defrag');
    await cluster.etcd.etcdctl('alarm', 'disarm');
    await until('etcd proves it again', 15_000, async () => !(await isActive(cluster, primary)));
    await wentOn(cluster, gone, primary, timeline);
  });
});
