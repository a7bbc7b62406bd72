/**
 * A standby below another standby, and a witness: h1 <- h2 <- h3, and w1 without Postgres. Losing the one in the middle
 * never moves the leader; losing the leader rebuilds the chain; losing the witness changes nothing.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';
import { which } from '../../scripts/ensure.mjs';
import { runOn } from './lib/client.ts';
import type { Cluster } from './lib/cluster.ts';
import { describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

const UPSTREAMS: Readonly<Record<string, string>> = { h3: 'h2' };

/** Waits until this standby streams from that node, by the sender's own account. */
function streamsFrom(cluster: Cluster, standby: string, from: string, limitMs = 20_000): Promise<void> {
  return until(`${standby} streams from ${from}`, limitMs, async () => {
    const rows = await cluster.sql(
      from,
      `select 1 from pg_stat_replication where application_name = '${standby}' and state = 'streaming'`,
    );
    return rows.length === 1;
  }).then(() => undefined);
}

/** The chain as it was configured, with this leader: h1 and h2 below him, h3 below h2. */
async function isWhole(cluster: Cluster, leader: string): Promise<void> {
  for (const { name } of cluster.others(leader)) {
    const wanted = UPSTREAMS[name];
    await streamsFrom(cluster, name, wanted === undefined || wanted === leader ? leader : wanted, 30_000);
  }
}

async function rowsOfList(cluster: Cluster): Promise<readonly Record<string, unknown>[]> {
  const { code, stdout } = await cluster.ctl(['list', '-f', 'json']);
  expect(code).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>[];
}

describeOnHosts('a cascade with a witness', () => {
  const shared = sharedCluster({
    witness: true,
    cascade: true,
    node: (name) => (UPSTREAMS[name] === undefined ? {} : { upstream_node: UPSTREAMS[name] }),
  });

  /** h1 leads and the chain is whole. */
  const ready = async (): Promise<Cluster> => {
    const cluster = shared.current;
    const leader = await cluster.primary();
    if (leader !== 'h1') {
      const { code, stderr } = await cluster.ctl(['switchover', '--leader', leader, '--candidate', 'h1', '--force']);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      await cluster.waitForPrimary(15_000, [leader]);
    }
    await isWhole(cluster, 'h1');
    return cluster;
  };

  it('streams through the middle, and every list shows the witness', async () => {
    const cluster = await ready();
    const direct = await cluster.sql('h1', 'select application_name as name from pg_stat_replication');
    expect(direct.map(({ name }) => name)).toEqual(['h2']);

    await until('the witness is in the list', 10_000, async () =>
      (await rowsOfList(cluster)).some(({ Member }) => Member === 'w1'),
    );
    const rows = await rowsOfList(cluster);
    expect(rows.find(({ Member }) => Member === 'w1')).toMatchObject({ Role: 'Witness', State: 'running' });
    expect(rows.find(({ Member }) => Member === 'w1')).not.toHaveProperty('Receive LSN');
    const { stdout: tree } = await cluster.ctl(['topology']);
    expect(tree).toMatch(/\| h1 .*\n\| \+ h2 .*\n\| {3}\+ h3 .*\n\| \+ w1 /);

    for (const path of ['/', '/primary', '/replica', '/read-only', '/health', '/readiness']) {
      expect(`${path} ${(await cluster.http('w1', path)).status}`).toBe(`${path} 503`);
    }
    expect((await cluster.http('w1', '/liveness')).status).toBe(200);
    const told = JSON.parse((await cluster.http('w1', '/patroni')).body ?? '{}') as { pgha: { role: string } };
    expect(told.pgha.role).toBe('witness');
    expect((await cluster.http('w1', '/restart', { method: 'POST', body: {} })).status).not.toBe(200);

    const slots = await cluster.sql<{ name: string }>('h1', 'select slot_name as name from pg_replication_slots');
    expect(slots.map(({ name }) => name).toSorted()).toEqual(['h2', 'h3']);
  });

  it("the leader's slot of the last one follows what that one reports, and holds nothing back", async () => {
    const cluster = await ready();
    await cluster.startWriter();
    const [before] = await cluster.sql<{ lsn: string }>('h1', 'select pg_current_wal_lsn()::text as lsn');
    await cluster.waitForWrites(200);
    await until('the slot has moved on', 10_000, async () => {
      const [slot] = await cluster.sql(
        'h1',
        `select restart_lsn >= '${before?.lsn}' as moved from pg_replication_slots where slot_name = 'h3' and not active`,
      );
      return slot?.['moved'] === true;
    });
    await endsWell(cluster);
  });

  it.skipIf(which('patronictl') === null)("Debian's patronictl shows it as well", async () => {
    const cluster = await ready();
    const config = join(cluster.directory, 'patronictl.yml');
    const hosts = cluster.etcd.endpoints.map((endpoint) => endpoint.replace('http://', ''));
    writeFileSync(config, stringify({ scope: cluster.scope, namespace: '/service', etcd3: { hosts } }));
    for (const command of [['list', '-f', 'json'], ['topology']]) {
      const args = [which('patronictl') ?? '', '-c', config, ...command];
      const { code, stdout, stderr } = await runOn(cluster.network.host('client'), args);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain('w1');
    }
  });

  it.runIf(everything)(
    'loses the one in the middle: the last goes to the leader, who stays, and back when it returns',
    async () => {
      const cluster = await ready();
      const timeline = await cluster.timeline('h1');
      await cluster.startWriter();
      await cluster.killNode('h2');
      await streamsFrom(cluster, 'h3', 'h1', cluster.ttlMs + 15_000);
      await cluster.waitForWrites(20);
      expect(await cluster.primary()).toBe('h1');
      expect(await cluster.timeline('h1')).toBe(timeline);
      await until('topology shows it', 5_000, async () => /\n\| \+ h3 /.test((await cluster.ctl(['topology'])).stdout));

      cluster.reviveNode('h2');
      // Where h2's silence was noticed before its key ran out, it is left alone for half a minute.
      await streamsFrom(cluster, 'h3', 'h2', 45_000);
      await endsWell(cluster);
      expect(await cluster.primary()).toBe('h1');
      expect(await cluster.timeline('h1')).toBe(timeline);
    },
  );

  it('the postmaster in the middle dies: the chain is whole again, and the leader stays', async () => {
    const cluster = await ready();
    await cluster.startWriter();
    cluster.killPostmaster('h2');
    await cluster.waitForWrites(20);
    await isWhole(cluster, 'h1');
    await endsWell(cluster);
    expect(await cluster.primary()).toBe('h1');
  });

  it('loses the leader: one of the two leads, and everybody is where he belongs', async () => {
    const cluster = await ready();
    await cluster.startWriter();
    await cluster.killNode('h1');
    const next = await cluster.waitForPrimary(cluster.ttlMs + 15_000, ['h1']);
    await cluster.waitForWrites(20);
    cluster.reviveNode('h1');
    await isWhole(cluster, next);
    await endsWell(cluster, { mayLose: true });
    expect(await cluster.leader()).toBe(next);
  });

  it('is switched over to the one in the middle, and from there to the last', async () => {
    const cluster = await ready();
    await cluster.startWriter();
    for (const [from, to] of [
      ['h1', 'h2'],
      ['h2', 'h3'],
    ] as const) {
      const { code, stdout, stderr } = await cluster.ctl([
        'switchover',
        '--leader',
        from,
        '--candidate',
        to,
        '--force',
      ]);
      expect({ code, stdout, stderr }).toMatchObject({ code: 0 });
      expect(await cluster.waitForPrimary(15_000, [from])).toBe(to);
      await isWhole(cluster, to);
    }
    await endsWell(cluster);
  });

  it.runIf(everything)('loses its witness: nothing changes', async () => {
    const cluster = await ready();
    const timeline = await cluster.timeline('h1');
    await cluster.startWriter();
    const witness = cluster.node('w1');
    witness.daemon.killForGood();
    await until('the witness is gone from the list', cluster.ttlMs + 10_000, async () => {
      return !(await rowsOfList(cluster)).some(({ Member }) => Member === 'w1');
    });
    await sleep(1_000);
    expect(await cluster.primary()).toBe('h1');
    expect(await cluster.timeline('h1')).toBe(timeline);
    witness.daemon.start();
    await endsWell(cluster);
  });

  it.runIf(everything)('the one in the middle hangs: the last goes to the leader, whose writes go on', async () => {
    const cluster = await ready();
    const timeline = await cluster.timeline('h1');
    await cluster.startWriter();
    cluster.freezeFamily('h2');
    await streamsFrom(cluster, 'h3', 'h1');
    await cluster.waitForWrites(20);
    cluster.thawFamily('h2');
    await endsWell(cluster);
    expect(await cluster.primary()).toBe('h1');
    expect(await cluster.timeline('h1')).toBe(timeline);
  });
});
