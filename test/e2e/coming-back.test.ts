/** Nodes that come back with data that stand across: newer pages than WAL, or newer commits than whoever leads by then. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import { signal } from './lib/processes.ts';
import { describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

/** No failover loses commits of so long a time, at the TTL of these tests: twice that, and a minute. */
const TOO_LONG_MS = 75_000;

const rowsOf = async (cluster: Cluster, name: string): Promise<number> =>
  Number((await cluster.sql<{ n: string }>(name, 'select count(*) as n from older'))[0]?.n);

const replays = (cluster: Cluster, name: string, lsn: string): Promise<true> =>
  until(`${name} has replayed ${lsn}`, 15_000, async () => {
    const [row] = await cluster.sql<{ far: boolean }>(
      name,
      `select pg_last_wal_replay_lsn() >= '${lsn}'::pg_lsn as far`,
    );
    return row?.far === true ? true : null;
  });

const end = async (cluster: Cluster, name: string): Promise<string> =>
  (await cluster.sql<{ at: string }>(name, 'select pg_current_wal_insert_lsn()::text as at'))[0]?.at ?? '';

/** As soon as its key tells where its daemon is to be asked. */
const reinit = (cluster: Cluster, name: string): Promise<true> =>
  until(`pgha-ctl reinit ${name} is accepted`, 15_000, async () => {
    const { code, stdout } = await cluster.ctl(['reinit', cluster.scope, name, '--force']);
    if (code !== 0) console.log(stdout);
    return code === 0 ? true : null;
  });

describeOnHosts('a node comes back', () => {
  const shared = sharedCluster({ ttl: 5 });

  it.runIf(everything)('in need of WAL, while nobody leads: it receives from whoever is elected', async () => {
    const cluster = shared.current;
    const leader = await cluster.primary();
    const standby = cluster.others(leader)[0]?.name ?? '';
    await cluster.sql(leader, 'checkpoint');
    await replays(cluster, standby, await end(cluster, leader));
    await cluster.sql(standby, 'checkpoint');
    await cluster.sql(leader, 'select pg_switch_wal()');
    const [row] = await cluster.sql<{ name: string }>(leader, 'select pg_walfile_name(pg_current_wal_lsn()) as name');
    await cluster.sql(leader, 'create table kept (n int)');
    await replays(cluster, standby, await end(cluster, leader));
    // Its pages are as new as that now, and say so.
    await cluster.sql(standby, 'checkpoint');
    for (const { name } of cluster.nodes) await cluster.killNode(name);
    const wal = join(cluster.node(standby).dataDir, 'pg_wal');
    for (const name of readdirSync(wal))
      if (/^[0-9A-F]{24}$/.test(name) && name >= (row?.name ?? '')) rmSync(join(wal, name));
    cluster.reviveNode(standby);
    await until('it was started, and takes no connections', 30_000, () =>
      /rule=leaderless.not-up.*postgres=starting/.test(cluster.node(standby).logText()) ? true : null,
    );
    for (const { name } of cluster.others(standby)) cluster.reviveNode(name);
    await cluster.waitForPrimary(60_000);
    await cluster.startWriter();
    await endsWell(cluster);
    expect(cluster.node(standby).logText()).toContain('rule=following.start-anew');
  });

  it.runIf(everything)(
    'with more than a failover loses, after etcd was emptied and an older copy leads: nothing of it is undone before an operator says so',
    async () => {
      const cluster = shared.current;
      const away = await cluster.primary();
      await cluster.sql(away, 'create table older (n int); insert into older values (1)');
      await cluster.waitAllStreaming();
      for (const { name } of cluster.others(away)) await replays(cluster, name, await end(cluster, away));
      // What nobody else has: the timelines that begin there are told apart by where they do.
      const receivers = cluster.others(away).map(({ name }) => cluster.backend(name, 'walreceiver'));
      for (const id of receivers) if (id !== null) signal(id, 'SIGSTOP');
      await cluster.sql(away, 'create table lost (n int)');
      await cluster.killNode(away);
      for (const id of receivers) if (id !== null) signal(id, 'SIGCONT');
      const leader = await cluster.waitForPrimary(30_000, [away]);
      const other = cluster.others(away, leader)[0]?.name ?? '';
      await cluster.sql(leader, 'insert into older select generate_series(1, 100000)');
      await sleep(TOO_LONG_MS);
      await cluster.sql(leader, 'insert into older values (2)');
      await replays(cluster, other, await end(cluster, leader));
      for (const name of [leader, other]) await cluster.killNode(name);
      await cluster.etcd.wipe();
      cluster.reviveNode(away);
      expect(await cluster.waitForPrimary(60_000)).toBe(away);
      expect(await rowsOf(cluster, away)).toBe(1);
      for (const name of [leader, other]) {
        cluster.reviveNode(name);
        await until(`${name} says that it would undo too much`, 30_000, () =>
          cluster.node(name).logText().includes('rule=rejoin.too-much') ? true : null,
        );
        expect(cluster.node(name).logText()).not.toContain('wal.discarded');
      }
      await reinit(cluster, other);
      await until(`${other} is copied anew`, 60_000, async () =>
        (await rowsOf(cluster, other).catch(() => 0)) === 1 ? true : null,
      );
      expect(cluster.node(other).logText()).toContain('wal.discarded');

      // The other way: whose data are right leads, and the older copy follows.
      for (const name of [away, other]) await cluster.killNode(name);
      await cluster.killNode(leader);
      await cluster.etcd.wipe();
      cluster.reviveNode(leader);
      expect(await cluster.waitForPrimary(60_000)).toBe(leader);
      expect(await rowsOf(cluster, leader)).toBe(100_002);
      for (const name of [away, other]) {
        cluster.reviveNode(name);
        await until(`${name} stays down in its turn`, 30_000, () =>
          /rule=rejoin.too-much/.test(cluster.node(name).logText().split('daemon.started').at(-1) ?? '') ? true : null,
        );
        await reinit(cluster, name);
      }
      await cluster.startWriter();
      await endsWell(cluster);
      expect(await rowsOf(cluster, away)).toBe(100_002);
    },
  );
});
