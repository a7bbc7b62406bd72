/**
 * A cluster of Debian's repmgr, with repmgrd on each node, is taken over by pgha under a writer: the commands of
 * docs/from-repmgr.md, in their order.
 */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { Cluster, type Node } from './lib/cluster.ts';
import { RepmgrCluster, withRepmgr } from './lib/repmgr.ts';
import { ctlDone, describeOnHosts, endsWell } from './lib/scenario.ts';
import { until } from './lib/time.ts';

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
async function configure(of: Cluster, node: Node): Promise<void> {
  const etcd = of.etcd.endpoints.map((endpoint) => endpoint.replace('http://', '')).join();
  const made = await ctlDone(of, ['import', RepmgrCluster.configFile(node), '--scope', of.scope, '--etcd', etcd]);
  const file = parse(made);
  Object.assign(file, { runtime_directory: join(node.directory, 'run'), ttl: 5, loop_wait: 1, retry_timeout: 1 });
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

describeAdoption('a cluster of repmgr', () => {
  it('is taken over under writes, without a restart; the primary that is killed then comes back by itself', async () => {
    const shared = await Cluster.start({ notStarted: ['h1', 'h2', 'h3'], dontWait: true, ttl: 5 });
    cluster = shared;
    repmgr = new RepmgrCluster(shared);
    await repmgr.start();
    const { nodes } = shared;
    await shared.prepare();
    await shared.startWriter();
    const before = nodes.map((node) => node.postmaster());

    // Watching.
    for (const node of nodes) await configure(shared, node);
    const files = nodes.map(written);
    for (const node of nodes) node.daemon.start();
    await until(
      'nothing stands against it',
      40_000,
      async () => (await shared.ctl(['adopt', 'check'])).code === 0,
      500,
    );
    console.log(await ctlDone(shared, ['adopt', 'check']));
    expect(nodes.map(written)).toEqual(files);
    expect(await slots(shared, 'h1')).toEqual(['repmgr_slot_2', 'repmgr_slot_3']);
    expect(await shared.leader()).toBeNull();

    // Taken over, repmgrd running on all nodes.
    console.log(await ctlDone(shared, ['adopt', 'take-over', '--force']));
    expect(await shared.leader()).toBe('h1');
    for (const node of nodes) await repmgr.stopDaemon(node);
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
});
