/** Commits wait for standbys, and nobody leads who may lack one of them: nodes vanish under writers, modes change. */
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import { signal } from './lib/processes.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

interface Shown {
  readonly Member: string;
  readonly Role: string;
}

async function roles(cluster: Cluster): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await cluster.ctl(['list', '--format', 'json']);
  const rows = JSON.parse(stdout.trim() === '' ? '[]' : stdout) as Shown[];
  return new Map(rows.map((row) => [row.Member, row.Role]));
}

async function untilRoles(cluster: Cluster, role: string, count: number): Promise<string[]> {
  let names: string[] = [];
  await until(`${count} members are ${role}`, 20_000, async () => {
    names = [...(await roles(cluster))].filter(([, one]) => one === role).map(([name]) => name);
    return names.length === count;
  });
  return names;
}

describeOnHosts('synchronous standbys', () => {
  const shared = sharedCluster({ ttl: 5, loopWait: 1, retryTimeout: 1, dcs: { synchronous_mode: 'quorum' } });

  it('quorum: the node of the primary vanishes under writers, and nothing that was acknowledged is lost', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    const standbys = await untilRoles(cluster, 'Quorum Standby', 2);
    expect(standbys).not.toContain(old);
    await cluster.startWriter({ sessions: 4 });
    await cluster.waitForWrites(200);
    const lost = monotonic();
    await cluster.killNode(old);
    const next = await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    await cluster.waitForWrites(50);
    const pause = await cluster.pauseSince(lost);
    console.log(`quorum, node lost (TTL ${cluster.ttlMs} ms): writes paused ${pause?.ms.toFixed(0)} ms`);
    cluster.reviveNode(old);
    await endsWell(cluster);
    expect(await cluster.leader()).toBe(next);
    await untilRoles(cluster, 'Quorum Standby', 2);
  });

  it.runIf(everything)(
    'quorum: daemon and guard of the primary hang, nobody stops it, and nobody acknowledges its commits any more',
    async () => {
      const cluster = shared.current;
      const old = await cluster.primary();
      await untilRoles(cluster, 'Quorum Standby', 2);
      await cluster.startWriter({ sessions: 4 });
      await cluster.waitForWrites(200);
      const { daemon } = cluster.node(old);
      const guard = cluster.node(old).guard();
      if (guard === null) throw new Error(`no guard runs on ${old}`);
      signal(guard, 'SIGSTOP');
      daemon.freeze();
      await until('another node is out of recovery', cluster.ttlMs + 15_000, async () => {
        return (await cluster.primaries()).some((name) => name !== old);
      });
      // Both take writes from whoever reaches them, and one of them tells nobody that it has done so.
      expect(await cluster.primaries()).toHaveLength(2);
      await sleep(2_000);
      signal(guard, 'SIGCONT');
      daemon.thaw();
      const next = await cluster.waitForPrimary(30_000, [old]);
      await endsWell(cluster);
      expect(cluster.node(next).logText()).toContain('failover.loss-excluded');
      await untilRoles(cluster, 'Quorum Standby', 2);
    },
  );

  it.runIf(everything)(
    'what stands in etcd and takes away the promise, or is no slot, is told and left out; commits wait as before',
    async () => {
      const cluster = shared.current;
      const primary = await cluster.primary();
      await cluster.startWriter({ sessions: 2 });
      const key = `/service/${cluster.scope}/config`;
      const before = (await cluster.etcd.get(key)) ?? '{}';
      const stored = JSON.parse(before) as { postgresql: { parameters: Record<string, unknown> } };
      const parameters = {
        ...stored.postgresql.parameters,
        synchronous_commit: 'local',
        synchronous_standby_names: '',
      };
      // Not by pgha-ctl, which refuses it.
      const wrong = {
        ...stored,
        synchronous_node_count: 'many',
        slots: { 'Not-a-name': { type: 'physical' }, fine: { type: 'physical' } },
        postgresql: { ...stored.postgresql, parameters },
      };
      await cluster.etcd.etcdctl('put', key, JSON.stringify(wrong));
      const log = (): string => cluster.node(primary).logText();
      await until('the log of the primary tells of each', 15_000, () =>
        [/slots\.Not-a-name/, /synchronous_node_count/, /with local no commit would wait/].every((said) =>
          said.test(log()),
        ),
      );
      await until('the slot that can be had is there', 15_000, async () => {
        const rows = await cluster.sql(primary, `select 1 from pg_replication_slots where slot_name = 'fine'`);
        return rows.length === 1;
      });
      const [row] = await cluster.sql<{ names: string; commit: string }>(
        primary,
        `select current_setting('synchronous_standby_names') as names, current_setting('synchronous_commit') as commit`,
      );
      expect(row?.names).toMatch(/^ANY 1 /);
      expect(row?.commit).toBe('on');
      await cluster.etcd.etcdctl('put', key, before);
      await endsWell(cluster);
      expect(await cluster.primary()).toBe(primary);
    },
  );

  it('on: the synchronous standby vanishes and another takes its place; strict: without any, commits wait', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const refused = await cluster.ctl([
      'edit-config',
      '--force',
      '-s',
      'synchronous_mode=off',
      '-s',
      'synchronous_mode_strict=true',
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stdout + refused.stderr).toContain('synchronous_mode is off: set that to on or quorum');
    await ctlDone(cluster, [
      'edit-config',
      '--force',
      '-s',
      'synchronous_mode=on',
      '-s',
      'synchronous_mode_strict=true',
    ]);
    const [first = ''] = await untilRoles(cluster, 'Sync Standby', 1);
    await cluster.startWriter({ sessions: 2 });
    await cluster.waitForWrites(50);
    const lost = monotonic();
    await cluster.killNode(first);
    await cluster.waitForWrites(50);
    const pause = await cluster.pauseSince(lost);
    console.log(`on, synchronous standby lost: writes paused ${pause?.ms.toFixed(0)} ms`);
    const [second = ''] = await untilRoles(cluster, 'Sync Standby', 1);
    expect(second).not.toBe(first);

    await cluster.killNode(second);
    await cluster.waitForWrites(1, 3_000).catch(() => undefined);
    const before = (await cluster.writerReport()).acked.length;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect((await cluster.writerReport()).acked.length, 'commits without any synchronous standby').toBe(before);
    cluster.reviveNode(first);
    cluster.reviveNode(second);
    await endsWell(cluster);
    expect(await cluster.primary()).toBe(primary);
    await ctlDone(cluster, [
      'edit-config',
      '--force',
      '-s',
      'synchronous_mode=off',
      '-s',
      'synchronous_mode_strict=null',
    ]);
    await untilRoles(cluster, 'Replica', 2);
    await until('commits wait for nobody', 10_000, async () => {
      const [row] = await cluster.sql<{ names: string }>(
        primary,
        "select current_setting('synchronous_standby_names') as names",
      );
      return row?.names === '';
    });
  });
});
