/**
 * A cluster of Debian's repmgr, with repmgrd on each node, is taken over by pgha under a writer: the commands of
 * docs/from-repmgr.md, in their order.
 */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { Cluster, type Node } from './lib/cluster.ts';
import { RepmgrCluster, withRepmgr } from './lib/repmgr.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

const describeAdoption = withRepmgr ? describeOnHosts : describeOnHosts.skip;

let cluster: Cluster | null = null;
let repmgr: RepmgrCluster | null = null;

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    for (const error of context.task.result.errors ?? []) error.message = cluster?.explain(error.message).message ?? '';
  await repmgr?.stop();
  await cluster?.destroy();
  cluster = null;
  repmgr = null;
});

/** `pgha-ctl import` makes the file; what only the hosts of a test have is put in. */
async function configure(of: Cluster, node: Node, origin: 'repmgr' | 'streaming'): Promise<void> {
  const etcd = of.etcd.endpoints.map((endpoint) => endpoint.replace('http://', '')).join();
  const made = await ctlDone(of, ['import', RepmgrCluster.configFile(node), '--scope', of.scope, '--etcd', etcd]);
  const file = parse(made);
  Object.assign(file, {
    adopt_from: origin,
    runtime_directory: join(node.directory, 'run'),
    ttl: 5,
    loop_wait: 1,
    retry_timeout: 1,
  });
  Object.assign(file.restapi, { listen: `${node.host.address}:${node.apiPort}` });
  Object.assign(file.postgresql, {
    bin_dir: postgresBinDir(),
    pgpass: join(node.directory, 'pgpass'),
    unix_socket_directory: node.socketDirectory,
  });
  writeFileSync(node.configFile, stringify(file));
  chmodSync(node.configFile, 0o644);
}

/** What pgha would change in a data directory, and what it has nothing to change in before the cluster is handed over. */
function written(node: Node): readonly string[] {
  const files = readdirSync(node.dataDir).filter(
    (name) => !/^(pg_|base|global|postmaster|repmgrd_state)/.test(name) || name.endsWith('.conf'),
  );
  return files.toSorted().map((name) => {
    const path = join(node.dataDir, name);
    return statSync(path).isFile() ? `${name} ${readFileSync(path, 'utf8')}` : name;
  });
}

async function slots(of: Cluster, node: string): Promise<readonly string[]> {
  const rows = await of.sql(node, 'select slot_name from pg_replication_slots order by 1');
  return rows.map((row) => String(row['slot_name']));
}

/** repmgr's cluster under a writer, the daemons of pgha beside it, and nothing that stands against the take-over. */
async function watched(origin: 'repmgr' | 'streaming'): Promise<{ shared: Cluster; theirs: RepmgrCluster }> {
  const shared = await Cluster.start({ notStarted: ['h1', 'h2', 'h3'], dontWait: true, ttl: 5 });
  cluster = shared;
  const theirs = new RepmgrCluster(shared, { configBeside: origin === 'streaming' });
  repmgr = theirs;
  await theirs.start();
  if (origin === 'streaming') await theirs.stop();
  await shared.prepare();
  await shared.startWriter();
  for (const node of shared.nodes) await configure(shared, node, origin);
  const files = shared.nodes.map(written);
  for (const node of shared.nodes) node.daemon.start();
  await until('nothing stands against it', 40_000, async () => (await shared.ctl(['adopt', 'check'])).code === 0, 500);
  expect(shared.nodes.map(written), "files that are not pgha's yet").toEqual(files);
  return { shared, theirs };
}

describeAdoption('a cluster of repmgr', () => {
  it('is taken over under writes, without a restart; the primary that is killed then comes back by itself', async () => {
    const { shared, theirs } = await watched('repmgr');
    const { nodes } = shared;
    const before = nodes.map((node) => node.postmaster());
    expect(await slots(shared, 'h1')).toEqual(['repmgr_slot_2', 'repmgr_slot_3']);
    expect(await shared.leader()).toBeNull();

    // Taken over, repmgrd running on all nodes.
    await ctlDone(shared, ['adopt', 'take-over', '--force']);
    expect(await shared.leader()).toBe('h1');
    await theirs.stop();
    expect(nodes.map((node) => node.postmaster())).toEqual(before);
    const { failed, unknown } = await shared.writerReport();
    expect([...failed, ...unknown], 'writes that failed').toEqual([]);
    expect(await ctlDone(shared, ['show-config'])).toContain('max_connections: "60"');

    // Its primary is killed, and comes back by itself.
    await shared.killNode('h1');
    expect(await shared.waitForPrimary(40_000, ['h1'])).not.toBe('h1');
    shared.reviveNode('h1');
    await endsWell(shared, { mayLose: true });
  });

  describe.skipIf(!everything)('and all the rest of it', () => {
    it('goes back to repmgr after a switchover, and repmgrd promotes again; a late promotion by hand lasted no longer than a moment', async () => {
      const { shared, theirs } = await watched('repmgr');
      const { nodes } = shared;
      const [h1, h2, h3] = nodes as [Node, Node, Node];
      await ctlDone(shared, ['adopt', 'take-over', '--force']);

      // repmgr itself sees the primary; whoever promotes without asking it is ended, and comes back as a standby.
      await expect(theirs.repmgr(h3, ['standby', 'promote'])).rejects.toThrow('already');
      const began = monotonic();
      await theirs.promote(h3);
      await until('h3 is no primary any more', 30_000, async () => (await shared.primaries()).join() === 'h1', 20);
      console.log(`a standby promoted by hand was a primary for ${(monotonic() - began).toFixed(0)} ms`);
      await shared.waitAllStreaming(60_000);
      expect(h3.logText()).toContain('rule=fence.without-window');

      await ctlDone(shared, ['switchover', '--leader', 'h1', '--candidate', 'h2', '--force']);
      await shared.waitAllStreaming(60_000);
      expect(await ctlDone(shared, ['adopt', 'back', '--force'])).toContain('systemctl disable --now pgha');
      const running = nodes.map((node) => node.postmaster());
      for (const node of nodes) await node.daemon.stop();
      await until('no key is left', 20_000, async () => (await shared.etcd.get('/service/e2e/members/h3')) === null);
      expect(nodes.map((node) => node.postmaster())).toEqual(running);

      const untrue = await shared.ctl(['adopt', 'back']);
      expect(untrue).toMatchObject({ code: 1 });
      expect(untrue.stdout).toContain('on h2: repmgr primary register -F');
      expect(untrue.stdout).toMatch(/on h1: repmgr standby follow; repmgr standby register -F --upstream-node-id=2/);
      await theirs.repmgr(h2, ['primary', 'register', '-F']);
      for (const node of [h1, h3]) {
        await theirs.repmgr(node, ['standby', 'follow']);
        await theirs.repmgr(node, ['standby', 'register', '-F', '--upstream-node-id=2']);
      }
      for (const node of nodes) theirs.startDaemon(node);
      await ctlDone(shared, ['adopt', 'back']);
      expect(await shared.etcd.get('/service/e2e/initialize')).toBeNull();
      await shared.waitForWrites(20);
      await theirs.repmgr(h2, ['cluster', 'show']);
      await until(
        'repmgrd watches',
        20_000,
        async () =>
          (await theirs.repmgr(h2, ['service', 'status'])).stdout
            .split('\n')
            .filter((line) => / running +\| +\d+ +\| no /.test(line)).length === 3,
        500,
      );

      // repmgrd does what it did before.
      shared.killPostmaster('h2');
      expect(await shared.waitForPrimary(60_000, ['h2'])).not.toBe('h2');
    });

    it('fails over under repmgrd while pgha watches and touches nothing, and is taken over afterwards', async () => {
      const { shared, theirs } = await watched('repmgr');
      const [h1] = shared.nodes as [Node, Node, Node];
      shared.killPostmaster('h1');
      const next = await shared.waitForPrimary(60_000, ['h1']);
      // What repmgr's failover may have lost is not ours to answer for.
      await shared.stopWriter();
      await shared.startWriter();
      await until('h1 says what pgha would do', 15_000, () => h1.logText().includes('rule=shadow.would-start'));
      const during = await shared.ctl(['adopt', 'take-over', '--force']);
      expect(during.code).toBe(1);
      expect(during.stderr).toContain('nothing was touched');

      // Longer than any election of pgha's: nobody was started, ended or promoted but by repmgrd.
      await sleep(3 * shared.ttlMs);
      expect(await shared.primaries()).toEqual([next]);
      expect(h1.family()).toEqual([]);
      expect(await shared.leader()).toBeNull();
      expect(await shared.etcd.get('/service/e2e/initialize')).toBeNull();
      for (const node of shared.nodes) expect(node.logText()).not.toMatch(/rule=(fence|leaderless|leading|joining)/);

      await theirs.startPostgresAgain(h1, shared.node(next));
      await until(
        'nothing stands against it',
        60_000,
        async () => (await shared.ctl(['adopt', 'check'])).code === 0,
        500,
      );
      await ctlDone(shared, ['adopt', 'take-over', '--force']);
      expect(await shared.leader()).toBe(next);
      await endsWell(shared);
    });

    it('made by hand, with its configuration beside the data, goes over in the same way, and what is not the same cluster is left alone', async () => {
      const { shared } = await watched('streaming');
      const { nodes } = shared;
      const before = nodes.map((node) => node.postmaster());
      await shared.etcd.etcdctl('put', '/service/e2e/initialize', '7000000000000000000');
      await until('it is seen', 15_000, async () => {
        const { code, stdout } = await shared.ctl(['adopt', 'take-over', '--force']);
        return code === 1 && stdout.includes('7000000000000000000');
      });
      await shared.etcd.etcdctl('del', '/service/e2e/initialize');
      await until(
        'nothing stands against it',
        20_000,
        async () => (await shared.ctl(['adopt', 'check'])).code === 0,
        500,
      );
      await ctlDone(shared, ['adopt', 'take-over', '--force']);
      expect(nodes.map((node) => node.postmaster())).toEqual(before);
      shared.killPostmaster('h1');
      await endsWell(shared);
    });
  });
});
