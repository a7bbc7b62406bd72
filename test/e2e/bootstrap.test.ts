/** From nothing: three daemons start at the same moment on empty directories. */
import { afterEach, expect, it } from 'vitest';
import { Cluster } from './lib/cluster.ts';
import { describeOnHosts, endsWell } from './lib/scenario.ts';

describeOnHosts('bootstrap', () => {
  let cluster: Cluster | null = null;
  afterEach(async () => {
    await cluster?.destroy();
    cluster = null;
  });

  it('lets one of three that start together create the cluster, and the others copy it', async () => {
    cluster = await Cluster.start();
    const identifiers = new Set<unknown>();
    for (const { name } of cluster.nodes) {
      const [row] = await cluster.sql(name, 'select system_identifier::text as id from pg_control_system()');
      identifiers.add(row?.['id']);
    }
    expect(identifiers.size).toBe(1);
    expect(await cluster.etcd.get('/service/e2e/initialize')).toBe([...identifiers][0]);
    expect(await cluster.leader()).toBe(await cluster.primary());
    const settings = JSON.parse((await cluster.etcd.get('/service/e2e/config')) ?? '{}') as Record<string, unknown>;
    expect(settings).toMatchObject({ ttl: 5, loop_wait: 1, retry_timeout: 1 });
    await cluster.startWriter();
    await endsWell(cluster);
  });
});
