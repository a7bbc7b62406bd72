/**
 * Permanent slots on a whole cluster: the consumer of a logical slot goes on after a switchover and after a crash
 * without a gap, and what nobody needs goes.
 */
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import { describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

const SLOTS = {
  cdc: { type: 'logical', database: 'postgres', plugin: 'test_decoding' },
  archive: { type: 'physical' },
};

/** Reads the slot wherever the primary is, and takes only what it has written down, as a good consumer does. */
class Consumer {
  readonly rows = new Set<string>();
  private ended = false;
  private readonly done: Promise<void>;

  constructor(cluster: Cluster) {
    const loop = async (): Promise<void> => {
      while (!this.ended) {
        await this.read(cluster).catch(() => sleep(50));
        await sleep(20);
      }
    };
    this.done = loop();
  }

  async read(cluster: Cluster): Promise<void> {
    const primary = await cluster.primary();
    const changes = await cluster.sql<{ lsn: string; data: string }>(
      primary,
      `select lsn::text, data from pg_logical_slot_peek_changes('cdc', null, 2000)`,
    );
    for (const { data } of changes) {
      const row = /^table public\.e2e_ledger: INSERT: "row"\[text\]:'([^']*)'/.exec(data)?.[1];
      if (row !== undefined) this.rows.add(row);
    }
    const last = changes.at(-1);
    if (last !== undefined) await cluster.sql(primary, `select pg_replication_slot_advance('cdc', '${last.lsn}')`);
  }

  async end(): Promise<void> {
    this.ended = true;
    await this.done;
  }
}

const slotsOn = async (cluster: Cluster, node: string): Promise<readonly string[]> => {
  const rows = await cluster.sql<{ name: string }>(node, 'select slot_name as name from pg_replication_slots');
  return rows.map(({ name }) => name).toSorted();
};

const troubles = async (cluster: Cluster, node: string): Promise<readonly string[]> => {
  const { body } = await cluster.http(node, '/patroni');
  return (JSON.parse(body) as { pgha: { slots: readonly string[] } }).pgha.slots;
};

/** Every node has the slots of the others and the permanent ones, and nothing is wrong with them. */
async function everywhere(cluster: Cluster): Promise<void> {
  const names = cluster.nodes.map(({ name }) => name);
  for (const node of names) {
    const wanted = [...names.filter((name) => name !== node), 'archive', 'cdc'].toSorted();
    await until(`${node} has the slots ${wanted.join(', ')}`, 60_000, async () => {
      return (await slotsOn(cluster, node)).join() === wanted.join();
    });
    await until(`nothing is wrong with the slots of ${node}`, 30_000, async () => {
      return (await troubles(cluster, node)).length === 0;
    });
  }
}

describeOnHosts('permanent slots', () => {
  const shared = sharedCluster({
    dcs: { slots: SLOTS, postgresql: { parameters: { wal_receiver_status_interval: '1s' } } },
  });

  it.runIf(everything)(
    'a logical consumer goes on after a switchover and after a crash, and misses nothing',
    async () => {
      const cluster = shared.current;
      const first = await cluster.primary();
      const consumer = new Consumer(cluster);
      // With it the slot lets go of WAL from before the standbys were copied, which they do not have.
      await cluster.sql(first, 'checkpoint');
      await everywhere(cluster);
      await cluster.waitAllStreaming();
      await cluster.startWriter({ sessions: 4 });
      const second = cluster.others(first)[0]?.name ?? '';
      const { code, stdout, stderr } = await cluster.ctl(['switchover', '--candidate', second, '--force']);
      expect({ code, text: stdout + stderr }).toMatchObject({ code: 0 });
      await cluster.waitForWrites(100);
      await cluster.waitAllStreaming();
      await everywhere(cluster);

      cluster.killPostmaster(second);
      await cluster.waitForPrimary(20_000, [second]);
      await cluster.waitForWrites(100);
      await endsWell(cluster);
      const rows = await cluster.sql<{ row: string }>(await cluster.primary(), 'select row from e2e_ledger', 30_000);
      expect(rows.length).toBeGreaterThan(200);
      const missing = (): readonly string[] => rows.map(({ row }) => row).filter((row) => !consumer.rows.has(row));
      await until('the consumer has come to the end', 20_000, () => missing().length === 0).catch(() => undefined);
      await consumer.end();
      expect(missing()).toEqual([]);
      for (const node of cluster.nodes) expect(node.logText()).not.toMatch(/slot\.unproven|slot\.position-lost/);
    },
  );

  it('a slot that is not ours is told of, and goes when the time for it is over', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    await cluster.sql(primary, `select pg_create_physical_replication_slot('stranger', true)`);
    await cluster.sql(primary, `select pg_create_physical_replication_slot('barman', true)`);
    await until('it is said', 10_000, () => /slot\.unknown.*stranger/.test(cluster.node(primary).logText()));
    const set = ['-s', 'member_slots_ttl=1', '-s', 'ignore_slots=[{name: barman}]', '--force'];
    const { code, stderr } = await cluster.ctl(['edit-config', ...set]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    await until('it is gone', 15_000, async () => !(await slotsOn(cluster, primary)).includes('stranger'));
    expect(await slotsOn(cluster, primary)).toEqual(expect.arrayContaining(['archive', 'barman', 'cdc']));
    expect(cluster.node(primary).logText()).toMatch(/slot\.dropped.*stranger/);
    await cluster.waitAllStreaming();
  });
});
