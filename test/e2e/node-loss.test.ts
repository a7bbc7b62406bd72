/** A whole node vanishes, or is cut off from everybody: the others wait out its window and go on. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnHosts, endsWell, sharedCluster } from './lib/scenario.ts';
import { monotonic, until } from './lib/time.ts';

describeOnHosts('the node of the primary is lost', () => {
  const shared = sharedCluster();

  it('everything on it killed and its link down: another takes over soon after the TTL', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    const lost = monotonic();
    await cluster.killNode(old);
    const next = await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    await cluster.waitForWrites(20);
    const pause = await cluster.pauseSince(lost);
    expect(await cluster.leader()).toBe(next);
    // What the lost node has told outlives it.
    await until('the failover stands among the events', 10_000, async () => {
      const { stdout } = await cluster.ctl(['events', '--limit', '100', '--format', 'tsv'], { node: next });
      const told = (node: string, event: string): boolean => stdout.includes(`\t${node}\t${event}\t`);
      return told(old, 'repmgrd_start') && told(next, 'repmgrd_failover_promote') && told(old, 'standby_unregister');
    });
    cluster.reviveNode(old);
    await endsWell(cluster, { mayLose: true });
    console.log(`node lost (TTL ${cluster.ttlMs} ms): writes paused ${pause?.ms.toFixed(0)} ms`);
    expect(pause?.ms).toBeLessThan(cluster.ttlMs * 2);
  });

  it('cut off and healed: it stops writing before anybody else begins, and returns as a standby', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.sql(old, 'create table if not exists e2e_tail (n int)');
    await cluster.startWriter({ sessions: 2 });
    await cluster.waitForWrites(20);
    const cut = monotonic();
    cluster.network.cut(old);
    // A client beside it is told "committed" three times, and nobody else will ever have these rows.
    for (const n of [1, 2, 3]) await cluster.sql(old, `insert into e2e_tail values (${n})`);
    await until(`${old} stops accepting writes`, cluster.ttlMs + 2_000, async () => {
      return !(await cluster.primaries()).includes(old);
    });
    console.log(`cut off (TTL ${cluster.ttlMs} ms): stopped writing after ${(monotonic() - cut).toFixed(0)} ms`);
    const next = await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    await cluster.waitForWrites(50);
    cluster.network.heal(old);
    // What the cut-off primary acknowledged to clients beside it before it stopped cannot be on the others.
    await endsWell(cluster, { mayLose: true });
    expect(await cluster.sql(next, 'select n from e2e_tail')).toEqual([]);

    // The new primary said what may be lost; the old one what was, and kept it.
    const explained = await cluster.ctl(['explain', '--last', '--format', 'json'], { node: next });
    const { node, loss } = JSON.parse(explained.stdout) as {
      node: string;
      loss: { lost: string; has: string; open_ended: boolean };
    };
    expect({ node, open_ended: loss.open_ended }).toEqual({ node: next, open_ended: true });
    expect(loss.lost).not.toBe('nothing');
    const root = `${cluster.node(old).dataDir}.discarded-wal`;
    const kept = (await readdir(root)).sort().at(-1) ?? '';
    const report = JSON.parse(await readFile(join(root, kept, 'report.json'), 'utf8')) as {
      leader: string;
      from: string;
      complete: boolean;
      transactions: { commits: number };
    };
    expect(report).toMatchObject({ leader: next, from: loss.has, complete: true });
    expect(report.transactions.commits).toBeGreaterThanOrEqual(3);
    // A member writes its list every few seconds while much happens.
    await until('both stand among the events', 15_000, async () => {
      const { stdout } = await cluster.ctl(['events', '--limit', '100', '--format', 'tsv'], { node: next });
      return stdout.includes(`\t${old}\twal_discarded\t`) && stdout.includes(`\t${next}\tfailover_loss_possible\t`);
    });
  });

  it('a standby cut off and healed: nobody notices, and it streams again', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const standby = cluster.others(primary)[0]?.name ?? '';
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const cut = monotonic();
    cluster.network.cut(standby);
    await cluster.waitForWrites(1_000);
    cluster.network.heal(standby);
    await endsWell(cluster);
    expect(await cluster.primary()).toBe(primary);
    expect(await cluster.timeline(primary)).toBe(timeline);
    expect((await cluster.pauseSince(cut))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
  });

  it('only one is left, and a whole timeline behind: an operator makes it the leader, and it begins a timeline of its own', async () => {
    const cluster = shared.current;
    const first = await cluster.primary();
    const [second = '', left = ''] = cluster.others(first).map(({ name }) => name);
    const before = await cluster.timeline(first);
    await cluster.waitAllStreaming();
    await cluster.node(left).daemon.stop();
    const handed = await cluster.ctl(['switchover', '--candidate', second, '--force'], { node: first });
    expect(`${handed.code}: ${handed.stdout}${handed.stderr}`).toMatch(/^0: /);
    await cluster.sql(second, 'create table only_there (n int)');
    await cluster.node(first).daemon.stop();
    await cluster.node(second).daemon.stop();
    cluster.node(left).daemon.start();
    await until(`${left} says why it does not lead`, 3 * cluster.ttlMs, async () =>
      cluster
        .node(left)
        .logText()
        .includes(`${left} is on timeline ${before}, the cluster has been on ${before + 1}`),
    );
    const asked = ['failover', '--candidate', left, '--force'];
    const refused = await cluster.ctl(asked, { node: left });
    expect([refused.code, refused.stdout + refused.stderr]).toEqual([
      1,
      expect.stringContaining(`the cluster has been on ${before + 1}; accept_data_loss`),
    ]);
    const done = await cluster.ctl([...asked, '--accept-data-loss'], { node: left });
    expect(`${done.code}: ${done.stdout}${done.stderr}`).toMatch(/^0: /);
    expect(await cluster.timeline(left)).toBe(before + 2);
    const explained = await cluster.ctl(['explain', '--last', '--format', 'json'], { node: left });
    const { loss } = JSON.parse(explained.stdout) as { loss: { lost: string; sentence: string } };
    expect(loss.lost).not.toBe('nothing');
    expect(loss.sentence).toContain(`timeline ${before + 1}, on which ${second} wrote`);
    await cluster.startWriter();
    for (const name of [second, first]) cluster.node(name).daemon.start();
    await endsWell(cluster, { mayLose: true });
    expect(await cluster.sql(second, "select to_regclass('only_there') as t")).toEqual([{ t: null }]);
    const history = await cluster.ctl(['history', '--format', 'json'], { node: left });
    expect(history.stdout).toContain(`went on from timeline ${before}`);
  });
});
